package scanreport

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/picket-edr/picket/internal/printable"
)

// Formats are the formats of NewRowWriter.
func Formats() []string { return []string{"csv", "json", "jsonl", "timeline"} }

func newRowWriter(format string, w io.Writer, columns []string) (RowWriter, error) {
	b := bufio.NewWriterSize(w, 64<<10)
	switch format {
	case "csv":
		c := csv.NewWriter(b)
		c.UseCRLF = true
		return &csvWriter{c, b}, c.Write(columns)
	case "json", "jsonl":
		j := &jsonWriter{w: b, between: "\n", last: "\n"}
		if format == "json" {
			j.first, j.between, j.last, j.empty = "[\n", ",\n", "\n]\n", "[]\n"
		}
		for _, c := range columns {
			j.keys = append(j.keys, marshalText(c))
		}
		return j, nil
	case "timeline":
		return &timelineWriter{b}, nil
	}
	return nil, fmt.Errorf("format %q is none of %s", format, strings.Join(Formats(), ", "))
}

type csvWriter struct {
	csv *csv.Writer
	w   *bufio.Writer
}

func (w *csvWriter) WriteRow(values []string) error {
	cells := make([]string, len(values))
	for i, v := range values {
		cells[i] = printable.SpreadsheetCell(v)
	}
	return w.csv.Write(cells)
}

func (w *csvWriter) End() error {
	w.csv.Flush()
	if err := w.csv.Error(); err != nil {
		return err
	}
	return w.w.Flush()
}

// A jsonWriter writes an object for each row. Columns without a value are left out.
type jsonWriter struct {
	w                           *bufio.Writer
	keys                        [][]byte
	first, between, last, empty string
	begun                       bool
}

func (j *jsonWriter) WriteRow(values []string) error {
	if j.begun {
		j.w.WriteString(j.between)
	} else {
		j.w.WriteString(j.first)
	}
	j.begun = true
	next := byte('{')
	for i, v := range values {
		if v == "" {
			continue
		}
		j.w.WriteByte(next)
		next = ','
		j.w.Write(j.keys[i])
		j.w.WriteByte(':')
		j.w.Write(marshalText(v))
	}
	if next == '{' {
		j.w.WriteByte('{')
	}
	return j.w.WriteByte('}')
}

func (j *jsonWriter) End() error {
	if j.begun {
		j.w.WriteString(j.last)
	} else {
		j.w.WriteString(j.empty)
	}
	return j.w.Flush()
}

func marshalText(s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.Encode(s) // a string always encodes
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// A timelineWriter writes a line for each row.
type timelineWriter struct{ w *bufio.Writer }

func (t *timelineWriter) WriteRow(values []string) error {
	for i, v := range values {
		if i > 0 {
			t.w.WriteString(" | ")
		}
		if v == "" {
			v = "-"
		}
		t.w.WriteString(printable.Text(v))
	}
	return t.w.WriteByte('\n')
}

func (t *timelineWriter) End() error { return t.w.Flush() }
