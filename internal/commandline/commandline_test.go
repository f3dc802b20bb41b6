package commandline_test

import (
	"slices"
	"testing"

	"github.com/picket-edr/picket/internal/commandline"
)

func TestJoin(t *testing.T) {
	for _, c := range []struct {
		args     []string
		line     string
		restored bool
	}{
		{nil, "", true},
		{[]string{"ls"}, "ls", true},
		{[]string{"ls", "-l", "/tmp"}, "ls -l /tmp", true},
		{[]string{"sh", "-c", "echo a > b"}, `sh -c "echo a > b"`, true},
		{[]string{"printf", "", "x"}, `printf "" x`, true},
		{[]string{"echo", "a\nb"}, "echo \"a\nb\"", true},
		{[]string{"echo", `a"b`}, `echo a"b`, true},
		{[]string{"sh", "-c", `echo "a b"`}, `sh -c echo "a b"`, false},
		{[]string{"echo", `"a"`}, `echo "a"`, false},
		{[]string{"nginx: master process"}, "nginx: master process", false},
	} {
		line := commandline.Join(c.args)
		if line != c.line {
			t.Errorf("Join(%q) = %s, want %s", c.args, line, c.line)
		}
		split := slices.Collect(commandline.Split(line))
		if slices.Equal(split, c.args) != c.restored || commandline.Restores(line, c.args) != c.restored {
			t.Errorf("Split(%s) = %q, Restores: %t", line, split, commandline.Restores(line, c.args))
		}
	}
	// Lines of other senders.
	for line, want := range map[string][]string{
		`a  b `:       {"a", "b"},
		`"a b"c d`:    {`"a`, `b"c`, "d"},
		`"open`:       {`"open`},
		`"a b" "c d"`: {"a b", "c d"},
	} {
		if got := slices.Collect(commandline.Split(line)); !slices.Equal(got, want) {
			t.Errorf("Split(%s) = %q, want %q", line, got, want)
		}
	}
}

func FuzzSplit(f *testing.F) {
	f.Add(`sh -c "a b"`)
	f.Fuzz(func(t *testing.T, line string) {
		n := 0
		for a := range commandline.Split(line) {
			n += len(a)
		}
		if n > len(line) {
			t.Errorf("%d bytes of arguments", n)
		}
	})
}
