package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/detect"
	"github.com/picket-edr/picket/internal/printable"
	"github.com/picket-edr/picket/internal/store"
)

// An eventPrinter prints the events of a hunt.
type eventPrinter interface {
	print(ev *picket.Event, view *store.EventView) error
	flush() error
}

// defaultCSVFields are the columns of --csv without --fields; the event as received
// follows.
var defaultCSVFields = []string{"time", "host", "agent_id", store.EventTypeField, "event_id"}

func (o *huntOutput) newEventPrinter(w io.Writer) eventPrinter {
	switch {
	case len(o.fields) > 0:
		return &fieldPrinter{rows: o.newRowPrinter(w, o.fields), fields: o.fields}
	case o.csv:
		return &fieldPrinter{rows: o.newRowPrinter(w, append(defaultCSVFields, "event")), fields: defaultCSVFields, raw: true}
	case o.json:
		return &rawPrinter{bufio.NewWriter(w)}
	}
	return newEventLinePrinter(w)
}

// A rawPrinter prints events as they were received.
type rawPrinter struct{ w *bufio.Writer }

func (p *rawPrinter) print(ev *picket.Event, _ *store.EventView) error {
	p.w.Write(ev.Raw)
	return p.w.WriteByte('\n')
}

func (p *rawPrinter) flush() error { return p.w.Flush() }

// An eventLinePrinter prints a line for each event: what picket determined, and the
// start of the event.
type eventLinePrinter struct {
	w     *bufio.Writer
	width int
	lines []eventLine // of a page
	// Of the columns of host and type, as wide as a page before has needed.
	hostWidth, typeWidth int
}

// An eventLine is what is printed of an event.
type eventLine struct{ time, host, eventType, text, script string }

// How many characters of an event a line has: as many as a narrower terminal has room
// for, within these bounds.
const (
	maxPrintedWidth = 400
	minEventWidth   = 20
	minColumnWidth  = 20 // of host and type, and the most that others are aligned to
	maxColumnWidth  = 64
)

func newEventLinePrinter(w io.Writer) *eventLinePrinter {
	return &eventLinePrinter{w: bufio.NewWriter(w), width: terminalWidth(w), hostWidth: minColumnWidth, typeWidth: minColumnWidth}
}

func (p *eventLinePrinter) print(ev *picket.Event, view *store.EventView) error {
	line := eventLine{time: formatTime(ev.Time), host: printable.Text(ev.Host), eventType: printable.Text(view.Category()),
		text: truncate(printable.Text(string(ev.Raw[:min(len(ev.Raw), 4*maxPrintedWidth)])), maxPrintedWidth)}
	for _, f := range ev.Fields {
		if f.Name == "CommandLine" && line.script == "" {
			line.script = truncate(printable.Text(detect.DecodedCommand(f.Value.Text)), maxPrintedWidth)
		}
	}
	p.hostWidth = min(max(p.hostWidth, utf8.RuneCountInString(line.host)), maxColumnWidth)
	p.typeWidth = min(max(p.typeWidth, utf8.RuneCountInString(line.eventType)), maxColumnWidth)
	p.lines = append(p.lines, line)
	return nil
}

// flush prints the lines of a page, in columns as wide as they need.
func (p *eventLinePrinter) flush() error {
	before := len(time.DateTime) + 2 + p.hostWidth + 1 + p.typeWidth + 1 // characters before the event
	width := maxPrintedWidth
	if p.width > 0 {
		width = min(max(p.width-before, minEventWidth), maxPrintedWidth)
	}
	for _, l := range p.lines {
		fprintfPrintable(p.w, "%s  %-*s %-*s %s\n", l.time, p.hostWidth, l.host, p.typeWidth, l.eventType, truncate(l.text, width))
		if l.script != "" {
			fprintfPrintable(p.w, "%*sdecoded: %s\n", before, "", truncate(l.script, width-len("decoded: ")))
		}
	}
	p.lines = p.lines[:0]
	return p.w.Flush() // the writer keeps its error
}

// A fieldPrinter prints the values of some fields of each event and, if raw is set, the
// event as received.
type fieldPrinter struct {
	rows   *rowPrinter
	fields []string
	raw    bool
}

func (p *fieldPrinter) print(ev *picket.Event, view *store.EventView) error {
	values := make([]store.FieldValue, 0, len(p.fields)+1)
	for _, field := range p.fields {
		v := view.FieldValue(field)
		switch {
		case !p.rows.isTable():
		case field == "time":
			v.Text = formatTime(ev.Time)
		case field == "received":
			v.Text = formatTime(ev.Received)
		}
		values = append(values, v)
	}
	if p.raw {
		values = append(values, store.FieldValue{Text: string(ev.Raw), Present: true})
	}
	return p.rows.print(values)
}

func (p *fieldPrinter) flush() error { return p.rows.flush() }

// A rowPrinter prints rows of values with a name for each column: as a table, CSV or
// JSON.
type rowPrinter struct {
	names []string
	table *table
	csv   *csv.Writer   // nil: no CSV
	json  *bufio.Writer // nil: no JSON
	begun bool
}

func (o *huntOutput) newRowPrinter(w io.Writer, names []string) *rowPrinter {
	p := &rowPrinter{names: names, table: newTable(w)}
	switch {
	case o.csv:
		p.csv = csv.NewWriter(w)
		p.csv.UseCRLF = true
	case o.json:
		p.json = bufio.NewWriter(w)
	}
	return p
}

func (p *rowPrinter) isTable() bool { return p.csv == nil && p.json == nil }

// printCount prints a count, whose number is the first column.
func (p *rowPrinter) printCount(c store.EventCount) error {
	if p.json != nil {
		return p.printJSON(append([]any{c.Count}, asAny(c.Values)...))
	}
	return p.print(append([]store.FieldValue{{Text: strconv.FormatInt(c.Count, 10), Present: true}}, c.Values...))
}

// print prints a row.
func (p *rowPrinter) print(values []store.FieldValue) error {
	if p.json != nil {
		return p.printJSON(asAny(values))
	}
	if err := p.begin(); err != nil {
		return err
	}
	cells := make([]string, len(values))
	for i, v := range values {
		cells[i] = printable.Text(v.Text)
	}
	if p.csv != nil {
		for i := range cells {
			cells[i] = printable.SpreadsheetCell(cells[i])
		}
		return p.csv.Write(cells)
	}
	for i, v := range values {
		if cells[i] == "" && !v.Present {
			cells[i] = "-"
		}
		cells[i] = truncate(cells[i], maxPrintedWidth)
	}
	_, err := io.WriteString(p.table, strings.Join(cells, "\t")+"\n")
	return err
}

// begin prints the names of the columns before the first row.
func (p *rowPrinter) begin() error {
	if p.begun {
		return nil
	}
	p.begun = true
	header := make([]string, len(p.names))
	for i, name := range p.names {
		header[i] = printable.Text(name)
	}
	if p.csv != nil {
		return p.csv.Write(header)
	}
	_, err := io.WriteString(p.table, strings.Join(header, "\t")+"\n")
	return err
}

func asAny(values []store.FieldValue) []any {
	out := make([]any, len(values))
	for i, v := range values {
		out[i] = v
	}
	return out
}

// printJSON prints an object with the columns' names as keys, in their order.
func (p *rowPrinter) printJSON(values []any) error {
	var line bytes.Buffer
	for i, v := range values {
		line.WriteByte("{,"[min(i, 1)])
		for _, part := range []any{p.names[i], v} {
			if err := printJSONLine(&line, part); err != nil {
				return err
			}
			line.Truncate(line.Len() - 1) // the newline
			line.WriteByte(':')
		}
		line.Truncate(line.Len() - 1) // the colon after the value
	}
	line.WriteString("}\n")
	_, err := p.json.Write(line.Bytes())
	return err
}

// flush writes what was printed. CSV has its header even without rows.
func (p *rowPrinter) flush() error {
	switch {
	case p.json != nil:
		return p.json.Flush()
	case p.csv != nil:
		if err := p.begin(); err != nil {
			return err
		}
		p.csv.Flush()
		return p.csv.Error()
	}
	return p.table.Flush()
}
