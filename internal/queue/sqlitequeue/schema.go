package sqlitequeue

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	_ "modernc.org/sqlite" // the driver
)

// version is kept in the file's user_version.
const version = 2

// schema. Times are microseconds since 1970.
//
// A message is never updated, since that would copy its payload. Its id tells
// its age. All with ids above state.head were never leased; those up to it
// have a row in lease, or are gone.
const schema = `
CREATE TABLE state (
	one            INTEGER PRIMARY KEY CHECK (one = 1),
	file           INTEGER NOT NULL,           -- random, names this file
	seq            INTEGER NOT NULL DEFAULT 0, -- transactions so far
	last           INTEGER NOT NULL DEFAULT 0, -- the last id given to a message or letter
	head           INTEGER NOT NULL DEFAULT 0,
	messages       INTEGER NOT NULL DEFAULT 0, -- held now, as are the events and bytes below
	events         INTEGER NOT NULL DEFAULT 0,
	letters        INTEGER NOT NULL DEFAULT 0,
	bytes          INTEGER NOT NULL DEFAULT 0, -- of messages and letters
	rejected_bytes INTEGER NOT NULL DEFAULT 0, -- of letters of rejected events
	accepted       INTEGER NOT NULL DEFAULT 0, -- queue.Stats explains these
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
	owner      INTEGER NOT NULL,    -- 0: it waits
	not_before INTEGER NOT NULL,    -- for it to be delivered again
	attempt    INTEGER NOT NULL,    -- deliveries so far
	cause      TEXT NOT NULL,       -- of the last retry
	lost       INTEGER NOT NULL DEFAULT 0 -- how often its owner died
) STRICT;
CREATE INDEX lease_waiting ON lease (not_before) WHERE owner = 0;
CREATE TABLE owner (
	id      INTEGER PRIMARY KEY, -- random, one for each open queue that receives
	host    TEXT NOT NULL,       -- where pid and started mean something
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
CREATE TABLE rate ( -- events in and out, by slots of rateSlot
	slot     INTEGER PRIMARY KEY,
	received INTEGER NOT NULL,
	done     INTEGER NOT NULL
) STRICT;
`

// upgrades change a file of an earlier version to the next one.
var upgrades = map[int]string{
	1: "ALTER TABLE lease ADD COLUMN lost INTEGER NOT NULL DEFAULT 0",
}

// pragmas of every connection. Pages of 16 KiB cut a batch into few pieces.
// FULL makes COMMIT wait for the disk; on macOS, fullfsync makes the disk
// wait for itself.
var pragmas = []string{
	"busy_timeout(10000)", "synchronous(FULL)", "fullfsync(1)", "checkpoint_fullfsync(1)",
	"wal_autocheckpoint(0)", "secure_delete(0)", "temp_store(MEMORY)", "cache_size(-8192)",
}

func openDB(path string, conns int, extra ...string) (*sql.DB, error) {
	p := filepath.ToSlash(path)
	if !strings.HasPrefix(p, "/") {
		p = "/" + p // a drive letter
	}
	v := url.Values{"_pragma": append(pragmas[:len(pragmas):len(pragmas)], extra...)}
	db, err := sql.Open("sqlite", "file://"+(&url.URL{Path: p}).EscapedPath()+"?"+v.Encode())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

// prepareFile makes the file's tables where it has none.
func prepareFile(ctx context.Context, c *sql.Conn) error {
	var v, pages int
	if err := c.QueryRowContext(ctx, "PRAGMA page_count").Scan(&pages); err != nil {
		return fmt.Errorf("read file: %w", err)
	}
	if pages == 0 { // what can only be set before the first page
		for _, p := range []string{"PRAGMA page_size = 16384", "PRAGMA auto_vacuum = INCREMENTAL"} {
			if _, err := c.ExecContext(ctx, p); err != nil {
				return fmt.Errorf("%s: %w", p, err)
			}
		}
	}
	if _, err := c.ExecContext(ctx, "PRAGMA journal_mode = WAL"); err != nil {
		return fmt.Errorf("turn on the write-ahead log: %w", err)
	}
	// Two processes may make the file at one time.
	if _, err := c.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("lock file: %w", err)
	}
	defer c.ExecContext(ctx, "ROLLBACK") // fails after COMMIT, and may
	if err := c.QueryRowContext(ctx, "PRAGMA user_version").Scan(&v); err != nil {
		return fmt.Errorf("read version: %w", err)
	}
	switch {
	case v == version:
		return nil
	case v > version:
		return fmt.Errorf("file has version %d, and this picket reads up to %d: use the newer picket that wrote it", v, version)
	case v == 0:
		var id [8]byte
		rand.Read(id[:])
		file := int64(binary.LittleEndian.Uint64(id[:]))
		if _, err := c.ExecContext(ctx, schema); err != nil {
			return fmt.Errorf("make tables: %w", err)
		}
		if _, err := c.ExecContext(ctx, "INSERT INTO state (one, file) VALUES (1, ?)", file); err != nil {
			return fmt.Errorf("make tables: %w", err)
		}
	default:
		for ; v < version; v++ {
			if _, err := c.ExecContext(ctx, upgrades[v]); err != nil {
				return fmt.Errorf("upgrade tables from version %d: %w", v, err)
			}
		}
	}
	if _, err := c.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", version)); err != nil {
		return fmt.Errorf("set version: %w", err)
	}
	if _, err := c.ExecContext(ctx, "COMMIT"); err != nil {
		return fmt.Errorf("make tables: %w", err)
	}
	return nil
}
