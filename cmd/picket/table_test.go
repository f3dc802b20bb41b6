package main

import (
	"strings"
	"testing"
)

// On a terminal each row of a table takes one line: the longest cells are cut. Elsewhere
// nothing is.
func TestTableFitsTheTerminal(t *testing.T) {
	long := strings.Repeat("long ", 30)
	for width, want := range map[int]string{
		0:  "ID   DETAIL" + strings.Repeat(" ", len(long)-4) + "NAME\na-1  " + long + "  ann\n",
		40: "ID   DETAIL                         NAME\na-1  long long long long long lon…  ann\n",
	} {
		var out strings.Builder
		tab := &table{w: &out, width: width}
		fprintfPrintable(tab, "%s\t%s\t%s\n", "ID", "DETAIL", "NAME")
		fprintfPrintable(tab, "%s\t%s\t%s\n", "a-1", long, "ann")
		if err := tab.Flush(); err != nil || out.String() != want {
			t.Errorf("width %d: %v\n%s\nwant\n%s", width, err, out.String(), want)
		}
	}
}
