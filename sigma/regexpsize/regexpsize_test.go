package regexpsize_test

import (
	"testing"

	"github.com/picket-edr/picket/sigma/regexpsize"
)

func TestOf(t *testing.T) {
	for source, want := range map[string]int{
		``: 1, `abc`: 3, `(?i)abc`: 3, `a?`: 2, `(a?){10}`: 30, `(?:a{2}){3}`: 6, `[a-z]`: 1, `a|b`: 1, `ab|cd`: 5, `a{2,}`: 3, `a{0}`: 1, `((a{10}){10}){10}`: 1110,
	} {
		if got, err := regexpsize.Of(source); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", source, got, err, want)
		}
	}
	if _, err := regexpsize.Of("("); err == nil {
		t.Error("no error for a malformed expression")
	}
}
