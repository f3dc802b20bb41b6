// Package scanreport makes the reports of picket scan: the matches that a filter selects,
// sorted by time over all files, as CSV, JSON or a timeline; a summary; a page of HTML;
// and a layer for the ATT&CK Navigator.
//
// Memory is bounded whatever the number of matches: they are sorted in parts, in
// temporary files, and what a summary counts by is limited.
package scanreport

import (
	"fmt"
	"io"
	"time"

	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/internal/scan"
)

// Options say what a report has.
type Options struct {
	Rules    []ruleset.RuleInfo // of the engine
	Filter   Filter
	Columns  []string       // see Profile
	Location *time.Location // of the times; nil is UTC
	TempDir  string         // of the parts that do not fit in memory; "" is the system's
}

// A Report collects matches. It is not safe for concurrent use.
type Report struct {
	options Options
	reader  rowReader
	sorter  *sorter // nil: nothing needs the rows
	Summary Summary
}

// New returns an empty report. With keepRows, the rows can be written in the end.
func New(o Options, keepRows bool) *Report {
	if o.Location == nil {
		o.Location = time.UTC
	}
	r := &Report{options: o, reader: newRowReader(o), Summary: newSummary(o.Location)}
	if keepRows {
		r.sorter = newSorter(o.TempDir, sortMemoryBytes)
	}
	return r
}

// Add adds a match if the filter selects it, and returns the match, with the level that
// the filter gives it, and whether it was selected.
func (r *Report) Add(m scan.LocatedMatch) (scan.LocatedMatch, bool, error) {
	row := r.reader.row(m)
	if !r.options.Filter.selects(row) {
		return m, false, nil
	}
	r.Summary.add(row)
	if r.sorter == nil {
		return row.LocatedMatch, true, nil
	}
	values := make([]string, len(r.options.Columns))
	for i, c := range r.options.Columns {
		values[i] = row.value(c)
	}
	return row.LocatedMatch, true, r.sorter.add(row, values)
}

// A RowWriter writes rows of values, one for each column.
type RowWriter interface {
	WriteRow(values []string) error
	// End writes what follows the last row.
	End() error
}

// WriteRows writes the rows in the order of their time to all writers. A match of the same
// rule on an event with the same bytes as another, as of a log that was exported twice, is
// left out and counted in the summary. It can be called once.
func (r *Report) WriteRows(writers ...RowWriter) error {
	err := r.sorter.each(func(values []string, duplicate bool) error {
		if duplicate {
			r.Summary.Duplicates++
			return nil
		}
		for _, w := range writers {
			if err := w.WriteRow(values); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("sort matches: %w", err)
	}
	for _, w := range writers {
		if err := w.End(); err != nil {
			return err
		}
	}
	return nil
}

// Close removes the temporary files.
func (r *Report) Close() error {
	if r.sorter == nil {
		return nil
	}
	return r.sorter.close()
}

// NewRowWriter returns a writer of a format: csv, json, jsonl or timeline.
func (r *Report) NewRowWriter(format string, w io.Writer) (RowWriter, error) {
	return newRowWriter(format, w, r.options.Columns)
}
