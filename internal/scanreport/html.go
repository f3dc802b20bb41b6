package scanreport

import (
	_ "embed"
	"html/template"
	"io"
	"slices"
	"time"
)

//go:embed report.html
var reportHTML string

var reportTemplate = template.Must(template.New("report").Parse(reportHTML))

// maxPageRows, maxPageBytes and maxPageValueChars bound the rows of a page.
const (
	maxPageRows       = 10_000
	maxPageBytes      = 32 << 20
	maxPageValueChars = 1_000
)

// An HTMLPage is a RowWriter that writes one page of HTML with the summary and the first
// rows. The page has no scripts and refers to nothing outside.
type HTMLPage struct {
	w      io.Writer
	report *Report
	rows   [][]string
	bytes  int // of rows
	more   int
}

// NewHTMLPage returns a page of the report, which is written in the end.
func (r *Report) NewHTMLPage(w io.Writer) *HTMLPage { return &HTMLPage{w: w, report: r} }

// WriteRow adds a row to the page.
func (p *HTMLPage) WriteRow(values []string) error {
	if len(p.rows) == maxPageRows || p.bytes >= maxPageBytes {
		p.more++
		return nil
	}
	cut := make([]string, len(values))
	for i, v := range values {
		cut[i] = v
		if r := []rune(v); len(r) > maxPageValueChars {
			cut[i] = string(r[:maxPageValueChars]) + "…"
		}
		p.bytes += len(cut[i])
	}
	p.rows = append(p.rows, cut)
	return nil
}

// End writes the page.
func (p *HTMLPage) End() error {
	type level struct {
		Name string
		*LevelSummary
	}
	type bar struct {
		NamedCount
		Percent int64
	}
	bars := func(counts []NamedCount) (out []bar) {
		var highest int64 = 1
		for _, c := range counts {
			highest = max(highest, c.Count)
		}
		for _, c := range counts {
			out = append(out, bar{c, 100 * c.Count / highest})
		}
		return out
	}
	s, columns := &p.report.Summary, p.report.options.Columns
	var levels []level
	for _, l := range levelsDown {
		levels = append(levels, level{l.String(), &s.Levels[l]})
	}
	first, last := "", ""
	if !s.First.IsZero() {
		first, last = s.First.In(s.location).Format(time.RFC3339), s.Last.In(s.location).Format(time.RFC3339)
	}
	return reportTemplate.Execute(p.w, map[string]any{
		"Summary": s, "Levels": levels, "Columns": columns, "Rows": p.rows, "More": p.more, "LevelColumn": slices.Index(columns, "level"), "TimeColumn": slices.Index(columns, "time"),
		"First": first, "Last": last, "Days": bars(s.BusiestDays(60)), "Hosts": bars(s.TopHosts(20)), "TopRules": 10,
	})
}
