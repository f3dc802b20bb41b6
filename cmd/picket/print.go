package main

import (
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/picket-edr/picket/internal/printable"
)

// fprintfPrintable is fmt.Fprintf for people: printable makes text out of its arguments that
// cannot control the terminal. All commands print with it, or print JSON.
func fprintfPrintable(w io.Writer, format string, args ...any) (int, error) {
	clean := make([]any, len(args))
	for i, a := range args {
		switch kind := reflect.ValueOf(a).Kind(); {
		case kind >= reflect.Bool && kind <= reflect.Complex128: // numbers, and words for them
			clean[i] = a
		default:
			if b, ok := a.([]byte); ok {
				a = string(b)
			}
			clean[i] = printable.Text(fmt.Sprint(a))
		}
	}
	return fmt.Fprintf(w, format, clean...)
}

// quantity returns a number with its noun in the right form, as in "1 event" or "2 matches".
func quantity[N int | int64](n N, noun string) string {
	switch {
	case n == 1:
	case strings.HasSuffix(noun, "ch"):
		noun += "es"
	case strings.HasSuffix(noun, "ry"):
		noun = strings.TrimSuffix(noun, "y") + "ies"
	default:
		noun += "s"
	}
	return fmt.Sprint(n, " ", noun)
}

// sizeText returns a number of bytes in a unit that leaves at least one before the point.
func sizeText(bytes int64) string {
	for _, unit := range []struct {
		shift uint
		name  string
	}{{30, "GiB"}, {20, "MiB"}, {10, "KiB"}} {
		if bytes>>unit.shift > 0 {
			return fmt.Sprintf("%.1f %s", float64(bytes)/float64(int64(1)<<unit.shift), unit.name)
		}
	}
	return quantity(bytes, "byte")
}

// printLines prints text of several lines, each made printable.
func printLines(w io.Writer, text string) error {
	for line := range strings.Lines(text) {
		if _, err := fprintfPrintable(w, "%s\n", strings.TrimRight(line, "\r\n")); err != nil {
			return err
		}
	}
	return nil
}
