package picket

import "errors"

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
