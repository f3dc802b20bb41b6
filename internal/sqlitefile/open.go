package sqlitefile

import (
	"database/sql"
	"errors"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Open opens a SQLite file, with pragmas such as "cache_size(-2000)" on every connection.
// The pages of a file that it creates have checksums.
func Open(path string, pragmas ...string) (*sql.DB, error) {
	if err := registerChecksumVFS(); err != nil {
		return nil, err
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if path = filepath.ToSlash(path); !strings.HasPrefix(path, "/") {
		path = "/" + path // a drive letter
	}
	options := url.Values{"_pragma": pragmas, "vfs": {vfsName}}
	return sql.Open("sqlite", "file://"+(&url.URL{Path: path}).EscapedPath()+"?"+options.Encode())
}

// ErrDamaged means that a file, or a part of one, cannot be read because its content is
// not what was written.
var ErrDamaged = errors.New("the file is damaged")

// IsDamage reports whether an error says that a file is damaged.
func IsDamage(err error) bool {
	if errors.Is(err, ErrDamaged) {
		return true
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
			return true
		}
	}
	return false
}

// WrapDamage makes an error ErrDamaged if it says that a file is damaged. SQLite's own text
// and its code say no more than that.
func WrapDamage(err error) error {
	if !IsDamage(err) || errors.Is(err, ErrDamaged) {
		return err
	}
	return &damageError{err}
}

// A damageError is an error of SQLite about a damaged file.
type damageError struct{ cause error }

func (e *damageError) Error() string        { return ErrDamaged.Error() }
func (e *damageError) Is(target error) bool { return target == ErrDamaged }
func (e *damageError) Unwrap() error        { return e.cause }

// IsDiskFull reports whether an error says that there is no room on a file's disk.
func IsDiskFull(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && (e.Code()&0xff == sqlite3.SQLITE_FULL || e.Code() == sqlite3.SQLITE_IOERR_SHMSIZE) || errors.Is(err, syscall.ENOSPC)
}

func isBusy(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && e.Code()&0xff == sqlite3.SQLITE_BUSY
}
