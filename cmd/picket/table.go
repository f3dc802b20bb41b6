package main

import (
	"bytes"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"golang.org/x/term"
)

const (
	minTerminalWidth = 60 // narrower ones wrap
	minCellWidth     = 8  // cells are not cut to less
	columnGap        = 2
)

// terminalWidth returns the width of the terminal that w is, 0 if it is none.
func terminalWidth(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return max(width, minTerminalWidth)
}

// A table aligns lines of cells that end in tabs, like a tabwriter.Writer. On a terminal
// it cuts the cells of the widest columns so that each row takes one line.
type table struct {
	w     io.Writer
	width int // of the terminal; 0: nothing is cut
	uncut int // the first columns, which are never cut
	buf   bytes.Buffer
}

// newTable returns a table that is written to w by Flush.
func newTable(w io.Writer) *table { return &table{w: w, width: terminalWidth(w)} }

// Write adds lines to the table.
func (t *table) Write(p []byte) (int, error) { return t.buf.Write(p) }

// Flush writes the table.
func (t *table) Flush() error {
	aligned := tabwriter.NewWriter(t.w, 0, 0, columnGap, ' ', 0)
	text := t.buf.String()
	t.buf.Reset()
	if t.width > 0 {
		text = fitRowsToWidth(text, t.width, t.uncut)
	}
	if _, err := io.WriteString(aligned, text); err != nil {
		return err
	}
	return aligned.Flush()
}

// fitRowsToWidth cuts the cells of a table's widest columns, but for the first ones, so
// that its rows have at most width characters.
func fitRowsToWidth(tabbedRows string, width, uncut int) string {
	var rows [][]string
	var widths []int
	for line := range strings.Lines(tabbedRows) {
		cells := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		rows = append(rows, cells)
		for i, cell := range cells {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	uncut = min(uncut, len(widths))
	width -= columnGap * (len(widths) - 1)
	for _, w := range widths[:uncut] {
		width -= w
	}
	shrinkWidest(widths[uncut:], width)
	var out strings.Builder
	for _, cells := range rows {
		for i := range cells {
			cells[i] = truncate(cells[i], widths[i])
		}
		out.WriteString(strings.Join(cells, "\t") + "\n")
	}
	return out.String()
}

// shrinkWidest reduces the greatest widths until all of them add up to total.
func shrinkWidest(widths []int, total int) {
	sum := 0
	for _, w := range widths {
		sum += w
	}
	for ; sum > total; sum-- {
		widest := 0
		for i, w := range widths {
			if w > widths[widest] {
				widest = i
			}
		}
		if len(widths) == 0 || widths[widest] <= minCellWidth {
			return
		}
		widths[widest]--
	}
}
