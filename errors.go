package picket

import (
	"errors"
	"strings"
)

// Kinds of errors that callers act on. Packages wrap them with %w; only httpapi maps them
// to status codes.
var (
	// ErrInvalid: the input can never succeed as it is.
	ErrInvalid = errors.New("invalid")
	// ErrNotFound: nothing has this name or id.
	ErrNotFound = errors.New("not found")
	// ErrConflict: the existing state forbids the change.
	ErrConflict = errors.New("conflict")
	// ErrUnavailable: a temporary failure, such as a full queue, a nearly full disk
	// or an unreachable server. A retry can succeed.
	ErrUnavailable = errors.New("unavailable")
	// ErrTooManyMatches: events have too many matches to be evaluated at once. Fewer
	// events can succeed.
	ErrTooManyMatches = errors.New("too many matches")
)

// errorKindSuffixes are the ends of errors that only repeat their kind to callers. "not
// found" is none of them: it is mostly all that an error says.
var errorKindSuffixes = []string{": invalid", ": conflict", ": unavailable", ": not allowed"}

// TrimErrorKindSuffix returns the text of an error for people: without the kind at the
// end of each line, because what precedes it says what is wrong.
func TrimErrorKindSuffix(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		for _, suffix := range errorKindSuffixes {
			lines[i] = strings.TrimSuffix(lines[i], suffix)
		}
	}
	return strings.Join(lines, "\n")
}
