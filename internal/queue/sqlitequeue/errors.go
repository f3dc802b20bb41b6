package sqlitequeue

import (
	"errors"
	"fmt"

	"modernc.org/sqlite"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
)

// The SQLite primary result codes that are handled here.
const (
	codeBusy    = 5
	codeIOErr   = 10
	codeCorrupt = 11
	codeFull    = 13
	codeNotADB  = 26
)

// A diskError is an error of the database, which rolled back a whole group.
type diskError struct{ err error }

func (e *diskError) Error() string { return e.err.Error() }
func (e *diskError) Unwrap() error { return e.err }

// wrapDBError wraps an error of the database as a diskError of the matching kind.
func wrapDBError(doing string, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%s: %w", doing, err)
	switch resultCode(err) {
	case codeFull:
		err = fmt.Errorf("%w: %w", err, queue.ErrDiskFull)
	case codeBusy:
		err = fmt.Errorf("%w: %w", err, picket.ErrUnavailable)
	}
	return &diskError{err}
}

func resultCode(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() & 0xff
	}
	return 0
}

// isFatal reports whether the file can no longer be trusted after err. A failed
// fsync must not be retried: a second one would succeed although the data was
// dropped.
func isFatal(err error) bool {
	switch resultCode(err) {
	case codeIOErr, codeCorrupt, codeNotADB:
		return true
	}
	return false
}
