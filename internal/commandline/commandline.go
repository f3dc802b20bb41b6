// Package commandline joins the arguments of a program into its command line, as
// picket's agent sends it, and splits a command line again.
package commandline

import (
	"iter"
	"strings"
)

// Join joins arguments with spaces. It quotes those that contain spaces or are empty, so
// that rules can see where they end; but it never quotes one that contains quotes itself,
// nor a single argument. Split cannot restore those.
func Join(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = a
		if len(args) > 1 && (a == "" || strings.ContainsAny(a, " \t\n")) && !strings.Contains(a, `"`) {
			quoted[i] = `"` + a + `"`
		}
	}
	return strings.Join(quoted, " ")
}

// Split yields the arguments of a command line, which are parts of it.
func Split(line string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for line != "" {
			var arg string
			if arg, line = cutArgument(line); !yield(arg) {
				return
			}
			line = strings.TrimLeft(line, " ")
		}
	}
}

// cutArgument returns the first argument of a command line and what follows it.
func cutArgument(line string) (arg, rest string) {
	if line[0] == '"' {
		if end := strings.IndexByte(line[1:], '"') + 1; end > 0 && (end+1 == len(line) || line[end+1] == ' ') {
			return line[1:end], line[end+1:]
		}
	}
	if end := strings.IndexByte(line, ' '); end >= 0 {
		return line[:end], line[end:]
	}
	return line, ""
}

// Restores reports whether Split yields exactly these arguments.
func Restores(line string, args []string) bool {
	i := 0
	for a := range Split(line) {
		if i == len(args) || args[i] != a {
			return false
		}
		i++
	}
	return i == len(args)
}
