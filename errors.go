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
	// ErrBatchTooLarge: events have too many matches to be evaluated at once. Fewer
	// events can succeed.
	ErrBatchTooLarge = errors.New("too many matches")
)

// kindSuffixes are the ends of errors that only repeat their kind to callers. "not found"
// is none of them: it is mostly all that an error says.
var kindSuffixes = []string{": invalid", ": conflict", ": unavailable", ": not allowed"}

// TrimErrorKind returns the text of an error for people: without the kind at the end of
// each line, because what precedes it says what is wrong.
func TrimErrorKind(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		for _, suffix := range kindSuffixes {
			lines[i] = strings.TrimSuffix(lines[i], suffix)
		}
	}
	return strings.Join(lines, "\n")
}
