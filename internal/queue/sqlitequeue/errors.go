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
	codePerm      = 3
	codeBusy      = 5
	codeLocked    = 6
	codeNoMem     = 7
	codeReadOnly  = 8
	codeInterrupt = 9
	codeIOErr     = 10
	codeCorrupt   = 11
	codeFull      = 13
	codeCantOpen  = 14
	codeNotADB    = 26
)

// codeShortRead is the extended code of a file that ends too early.
const codeShortRead = codeIOErr | 2<<8

// A dbError is an error of the database, which rolled back a whole group.
type dbError struct{ err error }

func (e *dbError) Error() string { return e.err.Error() }
func (e *dbError) Unwrap() error { return e.err }

// wrapDBError wraps an error of the database as a dbError of the matching kind.
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
	case codeCorrupt, codeNotADB:
		err = fmt.Errorf("%w: %w", err, queue.ErrDamaged)
	}
	return &dbError{err}
}

func resultCode(err error) int { return extendedCode(err) & 0xff }

func extendedCode(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code()
	}
	return 0
}

// asDamage makes an error of SQLite queue.ErrDamaged, unless its cause is outside of the
// file, such as a full disk.
func asDamage(err error) error {
	switch resultCode(err) {
	case 0, codePerm, codeBusy, codeLocked, codeNoMem, codeReadOnly, codeInterrupt, codeFull, codeCantOpen:
		return err
	case codeIOErr:
		if extendedCode(err) != codeShortRead {
			return err
		}
	}
	if errors.Is(err, queue.ErrDamaged) {
		return err
	}
	return fmt.Errorf("%w: %w", err, queue.ErrDamaged)
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
