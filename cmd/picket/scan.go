package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/picket-edr/picket/internal/detect"
	"github.com/picket-edr/picket/internal/scan"
	"github.com/picket-edr/picket/rules"
	"github.com/picket-edr/picket/sigma"
)

func newScan() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scan [--rules PATH]... FILE|DIR...",
		Short: "Run rules over files of events (.evtx, .json, .ndjson, .xml; .gz and .zst too)",
		Args:  cobra.MinimumNArgs(1),
	}
	names := cmd.Flags().StringArray("rules", []string{"builtin"}, "rules to run: builtin, or a `PATH` of a directory, file or .zip (repeatable)")
	asJSON := cmd.Flags().Bool("json", false, "print JSON, a line a match")
	level := cmd.Flags().String("min-level", "informational", "print matches of this `LEVEL` and above")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		least, err := sigma.ParseLevel(*level)
		if err != nil {
			return usagef("--min-level: %w", err)
		}
		set, err := loadRules(*names)
		if err != nil {
			return err
		}
		for _, p := range set.Problems {
			fmt.Fprintf(cmd.ErrOrStderr(), "picket: rule not loaded: %s\n", p)
		}
		out := newHitPrinter(cmd.OutOrStdout(), *asJSON)
		var p scan.Progress
		bar := startBar(cmd.ErrOrStderr(), &p)
		start, bad := time.Now(), 0
		err = scan.Files(cmd.Context(), detect.NewEngine(set.Rules), args, &p,
			func(h scan.Hit) error {
				if h.Level < least {
					return nil
				}
				return out.print(h)
			},
			func(err error) {
				bad++
				bar.println("picket: " + err.Error())
			})
		bar.stop()
		if err != nil {
			return err
		}
		if err := out.flush(); err != nil {
			return err
		}
		if !*asJSON {
			took := time.Since(start)
			fmt.Fprintf(cmd.ErrOrStderr(), "%d matches in %d events with %d rules, %s (%.0f events/s)\n",
				out.n, p.Events.Load(), set.Rules.Len(), took.Round(time.Millisecond), float64(p.Events.Load())/took.Seconds())
		}
		if bad > 0 {
			return errSilent
		}
		return nil
	}
	return cmd
}

// loadRules loads what --rules names, without a server.
func loadRules(names []string) (detect.Set, error) {
	sources, err := detect.ParseSources(names, rules.FS)
	if err != nil {
		return detect.Set{}, hinted(err, "--rules takes builtin, a directory, a .yml file or a .zip")
	}
	return detect.Load(sources, nil)
}

// A hitPrinter prints matches as JSON or as a table.
type hitPrinter struct {
	w      *bufio.Writer
	json   bool
	colour bool
	width  int
	n      int
}

func newHitPrinter(w io.Writer, asJSON bool) *hitPrinter {
	p := &hitPrinter{w: bufio.NewWriterSize(w, 64<<10), json: asJSON, width: 120}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.colour = os.Getenv("NO_COLOR") == ""
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			p.width = max(width, 60)
		}
	}
	return p
}

func (p *hitPrinter) print(h scan.Hit) error {
	p.n++
	if p.json {
		return p.printJSON(h)
	}
	if p.n == 1 {
		fmt.Fprintf(p.w, "%-13s  %-19s  %-7s  %s\n", "LEVEL", "TIME", "RECORD", "RULE, EVIDENCE")
	}
	when := "-"
	if !h.Time.IsZero() {
		when = h.Time.Format("2006-01-02 15:04:05")
	}
	why := make([]string, 0, len(h.Why))
	for _, e := range h.Why {
		why = append(why, e.Field+"="+e.Value)
	}
	fmt.Fprintf(p.w, "%s  %-19s  %-7d  %s\n", p.level(h.Level), when, h.Record, printable(h.Title))
	line := h.File
	if len(why) > 0 {
		line += "  " + strings.Join(why, "  ")
	}
	_, err := fmt.Fprintf(p.w, "%15s%s\n", "", cut(printable(line), p.width-16))
	return err
}

// printable makes one safe line of what an event, or who made it, says: no
// control character of it reaches the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}

func cut(s string, width int) string {
	if r := []rune(s); len(r) > width {
		return string(r[:width-1]) + "…"
	}
	return s
}

var colours = map[sigma.Level]string{
	sigma.Informational: "36", sigma.Low: "32", sigma.Medium: "33", sigma.High: "31", sigma.Critical: "1;37;41",
}

func (p *hitPrinter) level(l sigma.Level) string {
	s := fmt.Sprintf("%-13s", l)
	if !p.colour {
		return s
	}
	return "\x1b[" + colours[l] + "m" + s + "\x1b[0m"
}

func (p *hitPrinter) printJSON(h scan.Hit) error {
	if h.Tags == nil {
		h.Tags = []string{}
	}
	line := struct {
		RuleID string           `json:"rule_id"`
		Title  string           `json:"title"`
		Level  string           `json:"level"`
		Tags   []string         `json:"tags"`
		File   string           `json:"file"`
		Record int              `json:"record"`
		Time   *time.Time       `json:"time"`
		Why    []sigma.Evidence `json:"why"`
		Event  json.RawMessage  `json:"event"`
	}{h.RuleID, h.Title, h.Level.String(), h.Tags, h.File, h.Record, nil, h.Why, h.Raw}
	if !h.Time.IsZero() {
		line.Time = &h.Time
	}
	return printJSON(p.w, line)
}

func (p *hitPrinter) flush() error { return p.w.Flush() }

// A bar shows progress on a terminal, and nothing elsewhere.
type bar struct {
	mu   sync.Mutex
	w    io.Writer
	on   bool
	p    *scan.Progress
	quit chan struct{}
	done sync.WaitGroup
}

func startBar(w io.Writer, p *scan.Progress) *bar {
	b := &bar{w: w, p: p, quit: make(chan struct{})}
	f, ok := w.(*os.File)
	if b.on = ok && term.IsTerminal(int(f.Fd())); !b.on {
		return b
	}
	b.done.Add(1)
	go func() {
		defer b.done.Done()
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-b.quit:
				return
			case <-tick.C:
				b.mu.Lock()
				b.draw()
				b.mu.Unlock()
			}
		}
	}()
	return b
}

func (b *bar) draw() {
	const width = 30
	total := max(b.p.Total.Load(), 1)
	done := min(int(b.p.Bytes.Load()*width/total), width)
	fmt.Fprintf(b.w, "\r\x1b[K[%s%s] %3d%%  %d events", strings.Repeat("#", done), strings.Repeat(" ", width-done),
		min(b.p.Bytes.Load()*100/total, 100), b.p.Events.Load())
}

// println prints a line above the bar.
func (b *bar) println(s string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.on {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
	fmt.Fprintln(b.w, printable(s))
}

func (b *bar) stop() {
	if b.on {
		close(b.quit)
		b.done.Wait()
		fmt.Fprint(b.w, "\r\x1b[K")
	}
}
