package picket

import "errors"

// The kinds of error that callers act on. Packages wrap them with %w;
// httpapi alone maps them to status codes.
var (
	// ErrInvalid is input that can never succeed as it is.
	ErrInvalid = errors.New("invalid")
	// ErrNotFound is a name or id that nothing has.
	ErrNotFound = errors.New("not found")
	// ErrConflict is a change that what is there already forbids.
	ErrConflict = errors.New("conflict")
	// ErrUnavailable is a lack that may pass: a full queue, a disk nearly
	// full, a server away. Trying again later can succeed.
	ErrUnavailable = errors.New("unavailable")
)
