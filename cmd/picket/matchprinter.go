package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/picket-edr/picket/internal/detect"
	"github.com/picket-edr/picket/internal/scan"
	"github.com/picket-edr/picket/sigma"
)

// A matchPrinter prints matches as JSON or as a table, each within flushDelay: the input
// may be live.
type matchPrinter struct {
	mu           sync.Mutex // guards w and flushPending
	w            *bufio.Writer
	flushPending bool

	json   bool
	why    bool // include the evidence in JSON
	stored bool // events of a store, which have no numbers
	colour bool
	width  int // of the terminal; 0: nothing is cut
	n      int
}

func newMatchPrinter(w io.Writer, asJSON, why bool) *matchPrinter {
	p := &matchPrinter{w: bufio.NewWriterSize(w, 64<<10), json: asJSON, why: why, width: terminalWidth(w)}
	p.colour = p.width > 0 && os.Getenv("NO_COLOR") == ""
	return p
}

// flushDelay is how long a match may stay in the buffer.
const flushDelay = 200 * time.Millisecond

func (p *matchPrinter) print(m scan.LocatedMatch) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n++
	if !p.flushPending {
		p.flushPending = true
		time.AfterFunc(flushDelay, func() { p.flush() }) // the next call of print or flush returns its error
	}
	if p.json {
		return p.printJSON(m)
	}
	if p.n == 1 {
		fprintfPrintable(p.w, "%-13s  %-19s  %s%s\n", "LEVEL", "TIME", p.recordColumn("RECORD"), "RULE, EVIDENCE")
	}
	when := "-"
	if !m.Time.IsZero() {
		when = m.Time.Format("2006-01-02 15:04:05")
	}
	p.w.WriteString(p.level(m.Level)) // has escapes for colour
	record := strconv.Itoa(m.Record)
	if m.EventRecordID != "" {
		record += " (" + m.EventRecordID + ")"
	}
	fprintfPrintable(p.w, "  %-19s  %s%s\n", when, p.recordColumn(record), m.Title)
	var evidence []string
	var decoded []string // on lines of their own, because what they are decoded from is long
	for _, e := range m.Why {
		if strings.HasSuffix(e.Field, detect.DecodedEvidenceSuffix) {
			decoded = append(decoded, e.Field+"="+e.Value)
		} else {
			evidence = append(evidence, e.Field+"="+e.Value)
		}
	}
	lines := append([]string{strings.Join(evidence, "  ")}, decoded...)
	if p.width == 0 || len([]rune(m.File)) < p.width/2 {
		lines[0] = strings.TrimRight(m.File+"  "+lines[0], " ")
	} else { // the file is not cut: without it, the match cannot be found
		fprintfPrintable(p.w, "%*s%s\n", detailIndent, "", m.File)
	}
	for _, line := range lines {
		if p.width > 0 {
			line = truncate(line, p.width-detailIndent-1)
		}
		if _, err := fprintfPrintable(p.w, "%*s%s\n", detailIndent, "", line); err != nil {
			return err
		}
	}
	return nil
}

func (p *matchPrinter) recordColumn(text string) string {
	if p.stored {
		return ""
	}
	return fmt.Sprintf("%-15s  ", text)
}

// detailIndent is the column of the lines below that of a match.
const detailIndent = 15

func truncate(s string, width int) string {
	if r := []rune(s); len(r) > width {
		return string(r[:width-1]) + "…"
	}
	return s
}

var colours = map[sigma.Level]string{
	sigma.Informational: "36", sigma.Low: "32", sigma.Medium: "33", sigma.High: "31", sigma.Critical: "1;37;41",
}

func (p *matchPrinter) level(l sigma.Level) string {
	s := fmt.Sprintf("%-13s", l)
	if !p.colour {
		return s
	}
	return "\x1b[" + colours[l] + "m" + s + "\x1b[0m"
}

func (p *matchPrinter) printJSON(m scan.LocatedMatch) error {
	if m.Tags == nil {
		m.Tags = []string{}
	}
	line := struct {
		RuleID string           `json:"rule_id"`
		Title  string           `json:"title"`
		Level  string           `json:"level"`
		Tags   []string         `json:"tags"`
		File   string           `json:"file"`
		Record int              `json:"record"`
		ID     string           `json:"event_record_id,omitempty"`
		Time   *time.Time       `json:"time"`
		Event  json.RawMessage  `json:"event"`
		Why    []sigma.Evidence `json:"why,omitempty"`
	}{m.RuleID, m.Title, m.Level.String(), m.Tags, m.File, m.Record, m.EventRecordID, nil, m.Raw, nil}
	if p.why {
		line.Why = m.Why
	}
	if !m.Time.IsZero() {
		line.Time = &m.Time
	}
	return printJSONLine(p.w, line)
}

func (p *matchPrinter) flush() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flushPending = false
	return p.w.Flush()
}
