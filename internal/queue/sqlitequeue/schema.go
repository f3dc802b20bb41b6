package sqlitequeue

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/picket-edr/picket/internal/sqlitefile"
)

// fileVersion is the format of the file, stored in its user_version.
const fileVersion = 2

// ErrNewerFile: a newer picket wrote the file.
var ErrNewerFile = errors.New("use the newer picket that wrote it")

// schema creates the tables. Times are microseconds since 1970.
//
// Messages are never updated, because that would copy the payload. IDs ascend
// with age. Messages with an ID above state.head were never leased; each of the
// others has a row in lease, until it is deleted.
const schema = `
CREATE TABLE state (
	one            INTEGER PRIMARY KEY CHECK (one = 1),
	file           INTEGER NOT NULL,           -- random, identifies this file
	seq            INTEGER NOT NULL DEFAULT 0, -- transactions so far
	last           INTEGER NOT NULL DEFAULT 0, -- the last id assigned to a message or dead letter
	head           INTEGER NOT NULL DEFAULT 0,
	messages       INTEGER NOT NULL DEFAULT 0, -- held now, as are the events, letters and bytes below
	events         INTEGER NOT NULL DEFAULT 0,
	letters        INTEGER NOT NULL DEFAULT 0,
	bytes          INTEGER NOT NULL DEFAULT 0, -- of messages and dead letters
	rejected_bytes INTEGER NOT NULL DEFAULT 0, -- of dead letters of rejected events
	accepted       INTEGER NOT NULL DEFAULT 0, -- see queue.Stats for these
	rejected       INTEGER NOT NULL DEFAULT 0,
	failed         INTEGER NOT NULL DEFAULT 0,
	purged         INTEGER NOT NULL DEFAULT 0,
	dropped        INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE message (
	id       INTEGER PRIMARY KEY,
	batch    TEXT NOT NULL,
	events   INTEGER NOT NULL,
	enqueued INTEGER NOT NULL,
	payload  BLOB NOT NULL
) STRICT;
CREATE TABLE lease (
	id         INTEGER PRIMARY KEY, -- the message's
	owner      INTEGER NOT NULL,    -- the consumer; 0: none, the message waits
	not_before INTEGER NOT NULL,    -- when it may be delivered again
	attempt    INTEGER NOT NULL,    -- deliveries so far
	cause      TEXT NOT NULL,       -- of the last retry
	lost       INTEGER NOT NULL DEFAULT 0 -- how often its consumer died
) STRICT;
CREATE INDEX lease_waiting ON lease (not_before) WHERE owner = 0;
CREATE TABLE owner (
	id      INTEGER PRIMARY KEY, -- random, one for each open queue that receives
	host    TEXT NOT NULL,       -- the host, boot and PID namespace of pid
	pid     INTEGER NOT NULL,
	started TEXT NOT NULL,
	expires INTEGER NOT NULL
) STRICT;
CREATE TABLE letter (
	id      INTEGER PRIMARY KEY,
	kind    TEXT NOT NULL,
	cause   TEXT NOT NULL,
	agent   TEXT NOT NULL,
	event   TEXT NOT NULL,
	events  INTEGER NOT NULL,
	time    INTEGER NOT NULL,
	payload BLOB NOT NULL
) STRICT;
CREATE TABLE rate ( -- events in and out, per slot of rateSlot
	slot     INTEGER PRIMARY KEY,
	received INTEGER NOT NULL,
	done     INTEGER NOT NULL
) STRICT;
`

// upgrades[v] upgrades a file of version v to v+1.
var upgrades = map[int]string{
	1: "ALTER TABLE lease ADD COLUMN lost INTEGER NOT NULL DEFAULT 0",
}

// busyTimeout is how long to wait for another process that writes.
const busyTimeout = 10 * time.Second

// pragmas are set on every connection. FULL makes COMMIT wait for fsync; on
// macOS, fullfsync makes the drive flush its cache too.
var pragmas = []string{
	fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()), "synchronous(FULL)", "fullfsync(1)", "checkpoint_fullfsync(1)",
	"wal_autocheckpoint(0)", "secure_delete(0)", "temp_store(MEMORY)", "cache_size(-8192)",
}

func openDB(path string, maxConns int, extraPragmas ...string) (*sql.DB, error) {
	db, err := sqlitefile.Open(path, append(pragmas[:len(pragmas):len(pragmas)], extraPragmas...)...)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(maxConns)
	db.SetMaxIdleConns(maxConns)
	return db, nil
}

// createOrUpgrade creates the tables of a new file and upgrades those of an old one.
func createOrUpgrade(ctx context.Context, c *sql.Conn) error {
	var v, pages int
	if err := c.QueryRowContext(ctx, "PRAGMA page_count").Scan(&pages); err != nil {
		return fmt.Errorf("read file: %w", err)
	}
	if pages == 0 { // these can only be set before the first page is written
		for _, p := range []string{fmt.Sprintf("PRAGMA page_size = %d", pageBytes), "PRAGMA auto_vacuum = INCREMENTAL"} {
			if _, err := c.ExecContext(ctx, p); err != nil {
				return fmt.Errorf("%s: %w", p, err)
			}
		}
	}
	if _, err := c.ExecContext(ctx, "PRAGMA journal_mode = WAL"); err != nil {
		return fmt.Errorf("enable write-ahead log: %w", err)
	}
	// Two processes may create the file at the same time.
	if _, err := c.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("lock file: %w", err)
	}
	defer c.ExecContext(ctx, "ROLLBACK") // has no effect after COMMIT
	if err := c.QueryRowContext(ctx, "PRAGMA user_version").Scan(&v); err != nil {
		return fmt.Errorf("read version: %w", err)
	}
	switch {
	case v == fileVersion:
		return nil
	case v > fileVersion:
		return fmt.Errorf("file has version %d, and this picket reads up to %d: %w", v, fileVersion, ErrNewerFile)
	case v == 0:
		var id [8]byte
		rand.Read(id[:])
		file := int64(binary.LittleEndian.Uint64(id[:]))
		if _, err := c.ExecContext(ctx, schema); err != nil {
			return fmt.Errorf("create tables: %w", err)
		}
		if _, err := c.ExecContext(ctx, "INSERT INTO state (one, file) VALUES (1, ?)", file); err != nil {
			return fmt.Errorf("create tables: %w", err)
		}
	default:
		for ; v < fileVersion; v++ {
			if _, err := c.ExecContext(ctx, upgrades[v]); err != nil {
				return fmt.Errorf("upgrade tables from version %d: %w", v, err)
			}
		}
	}
	if _, err := c.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", fileVersion)); err != nil {
		return fmt.Errorf("set version: %w", err)
	}
	if _, err := c.ExecContext(ctx, "COMMIT"); err != nil {
		return fmt.Errorf("create tables: %w", err)
	}
	return nil
}
