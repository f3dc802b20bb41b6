package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/picket-edr/picket/internal/filelock"
	"github.com/picket-edr/picket/internal/sqlitefile"
)

// errServerRuns: a server has locked the data directory.
var errServerRuns = errors.New("a server uses it")

// lockForServer keeps other servers, and commands that need the directory without one, off
// the data directory.
func (d dataDir) lockForServer() (*filelock.Lock, error) {
	l, err := filelock.Acquire(d.lockFile())
	if held, ok := errors.AsType[*filelock.HeldError](err); ok {
		return nil, fmt.Errorf("lock data directory %s: %w: process %s", d, errServerRuns, held.PID)
	}
	if err != nil {
		return nil, withFileHint(fmt.Errorf("lock data directory: %w", err))
	}
	return l, nil
}

// lockUnused locks the data directory, if it is there, for a command that needs it unused:
// no server and no worker may have one of its files open.
func (d dataDir) lockUnused(ctx context.Context, files ...string) (unlock func() error, err error) {
	if isMissing(string(d)) {
		return func() error { return nil }, nil
	}
	lock, err := d.lockForServer()
	if err != nil {
		return nil, withHint(err, stopServerHint)
	}
	for _, file := range files {
		if isMissingOrEmpty(file) {
			continue // SQLite would delete a write-ahead log beside it
		}
		if err := sqlitefile.CheckUnused(ctx, file); err != nil {
			return nil, errors.Join(withHint(err, stopServerHint), lock.Unlock())
		}
	}
	return lock.Unlock, nil
}

const stopServerHint = "stop the server and its workers"

// lostFileHint is the hint about a file of the data directory that is missing or empty.
const lostFileHint = "picket restore restores a backup; to start over with a new, empty file, picket doctor --repair with the same --data"

// errLostFile is the error about a file that a server has written and that is missing now
// or empty. Opening it would make a new one, as if nothing had been there.
var errLostFile = errors.New("a server has written it before")

// checkFileNotLost returns errLostFile for a missing or empty file that was written before.
func checkFileNotLost(path string, wasWritten bool) error {
	if !isMissingOrEmpty(path) || !wasWritten {
		return nil
	}
	state := "is empty"
	if isMissing(path) {
		state = "is missing"
	}
	return withHint(fmt.Errorf("open %s: the file %s: %w", path, state, errLostFile), lostFileHint)
}

func isMissing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, os.ErrNotExist)
}

func isMissingOrEmpty(path string) bool {
	info, err := os.Stat(path)
	return errors.Is(err, os.ErrNotExist) || err == nil && info.Size() == 0
}

// checkStoreNotLost returns errLostFile if the data directory had a store and has lost it.
func (d dataDir) checkStoreNotLost() error {
	return checkFileNotLost(d.eventsFile(), d.hadStore())
}

// hadStore reports whether other files of the directory say that there was a store. Before
// its first start has ended, a server has a store and no other file.
func (d dataDir) hadStore() bool {
	if !isMissingOrEmpty(d.eventsFile()+"-wal") || !isMissingOrEmpty(d.eventsFile()+"-audit") {
		return true
	}
	record, _ := readServerRecord(d)
	if record == nil {
		return !isMissingOrEmpty(d.queueFile())
	}
	return record.Flags["store"] == "sqlite"
}

// checkQueueNotLost returns errLostFile if the data directory had a queue in a file and has
// lost it.
func (d dataDir) checkQueueNotLost() error {
	record, _ := readServerRecord(d)
	return checkFileNotLost(d.queueFile(), hadQueueFile(d.queueFile()) || record != nil && record.Flags["queue"] == "sqlite")
}

// hadQueueFile reports whether what a queue keeps beside its file is there.
func hadQueueFile(path string) bool {
	return !isMissingOrEmpty(path+"-wal") || !isMissingOrEmpty(path+"-last")
}
