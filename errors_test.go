package picket_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/picket-edr/picket"
)

// People do not see the kind at the end of an error, unless it is all that it says.
func TestTrimErrorKindSuffix(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("limit is x, not a number: %w", picket.ErrInvalid), "limit is x, not a number"},
		{fmt.Errorf("add user ann: it exists already: %w", picket.ErrConflict), "add user ann: it exists already"},
		{fmt.Errorf("queue full: %w", picket.ErrUnavailable), "queue full"},
		{fmt.Errorf("read alert a: %w", picket.ErrNotFound), "read alert a: not found"},
		{picket.ErrConflict, "conflict"},
		{errors.Join(fmt.Errorf("a: %w", picket.ErrInvalid), errors.New("b is invalid")), "a\nb is invalid"},
		{fmt.Errorf("%w: disk I/O error", picket.ErrUnavailable), "unavailable: disk I/O error"},
	} {
		if got := picket.TrimErrorKindSuffix(c.err.Error()); got != c.want {
			t.Errorf("%q: %q, want %q", c.err, got, c.want)
		}
	}
}
