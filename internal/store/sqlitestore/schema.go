package sqlitestore

import (
	"context"
	"database/sql"
	"fmt"
)

// migrations are the changes that each schema version makes to the one before. A
// file's user_version is the number of those it has. A newer file is refused, an
// older one is upgraded.
var migrations = [...]string{initialSchema, correlationsMigration, coordinationMigration, alertListIndexMigration, auditChainMigration, eventNamespaceMigration, closedAlertsIndexMigration, hostPerAgentMigration, damagedBlocksMigration}

const schemaVersion = len(migrations)

// Times are as block.Micros returns them. Tables blocks and parts are described
// in doc.go.
const initialSchema = `
CREATE TABLE blocks (
	seq INTEGER PRIMARY KEY, -- of the first event
	n INTEGER NOT NULL, span INTEGER NOT NULL,
	raw INTEGER NOT NULL, size INTEGER NOT NULL,
	min_time INTEGER NOT NULL, max_time INTEGER NOT NULL,
	min_recv INTEGER NOT NULL, max_recv INTEGER NOT NULL,
	indexed INTEGER NOT NULL,
	dir BLOB NOT NULL
);
CREATE INDEX blocks_fresh ON blocks (seq) WHERE indexed = 0;
CREATE TABLE parts (key INTEGER PRIMARY KEY, data BLOB NOT NULL);

-- One row. layout changes whenever blocks are merged or deleted.
CREATE TABLE counters (
	id INTEGER PRIMARY KEY CHECK (id = 1),
	next_seq INTEGER NOT NULL DEFAULT 1, layout INTEGER NOT NULL DEFAULT 0,
	stored INTEGER NOT NULL DEFAULT 0, duplicate INTEGER NOT NULL DEFAULT 0, matches INTEGER NOT NULL DEFAULT 0,
	events INTEGER NOT NULL DEFAULT 0, raw INTEGER NOT NULL DEFAULT 0, size INTEGER NOT NULL DEFAULT 0
);
INSERT INTO counters (id) VALUES (1);

CREATE TABLE batches (id TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX batches_at ON batches (at);

CREATE TABLE rollup (
	minute INTEGER NOT NULL, kind INTEGER NOT NULL, name TEXT NOT NULL, n INTEGER NOT NULL,
	PRIMARY KEY (minute, kind, name)
) WITHOUT ROWID;

CREATE TABLE alerts (
	n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,
	rule_id TEXT NOT NULL, title TEXT NOT NULL, level INTEGER NOT NULL, tags TEXT NOT NULL,
	agent_id TEXT NOT NULL, host TEXT NOT NULL,
	status TEXT NOT NULL, closed INTEGER NOT NULL, assignee TEXT NOT NULL,
	count INTEGER NOT NULL, kept INTEGER NOT NULL,
	first_seen INTEGER NOT NULL, last_seen INTEGER NOT NULL,
	opened INTEGER NOT NULL, updated INTEGER NOT NULL,
	notes TEXT NOT NULL, folded TEXT NOT NULL -- store.AlertText
);
CREATE UNIQUE INDEX alerts_open ON alerts (rule_id, agent_id, host) WHERE closed = 0;
CREATE INDEX alerts_seen ON alerts (last_seen);
CREATE INDEX alerts_status ON alerts (status, last_seen);
CREATE INDEX alerts_rule ON alerts (rule_id, last_seen);
CREATE INDEX alerts_agent ON alerts (agent_id, last_seen);
CREATE INDEX alerts_host ON alerts (host, last_seen);

CREATE TABLE alert_stats (
	rule_id TEXT NOT NULL, level INTEGER NOT NULL, status TEXT NOT NULL,
	title TEXT NOT NULL, alerts INTEGER NOT NULL, matches INTEGER NOT NULL,
	PRIMARY KEY (rule_id, level, status)
) WITHOUT ROWID;

CREATE TABLE matches (
	n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, alert INTEGER NOT NULL,
	rule_id TEXT NOT NULL, event_id TEXT NOT NULL, agent_id TEXT NOT NULL,
	time INTEGER NOT NULL, why TEXT NOT NULL
);
CREATE INDEX matches_alert ON matches (alert);
CREATE INDEX matches_rule ON matches (rule_id);
CREATE INDEX matches_event ON matches (event_id);
CREATE INDEX matches_agent ON matches (agent_id);

CREATE TABLE hosts (
	name TEXT PRIMARY KEY, agent_id TEXT NOT NULL, os TEXT NOT NULL,
	first_seen INTEGER NOT NULL, last_seen INTEGER NOT NULL,
	events INTEGER NOT NULL, alerts INTEGER NOT NULL, folded TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX hosts_seen ON hosts (last_seen, name);

CREATE TABLE tokens (
	id TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, subject TEXT NOT NULL,
	role TEXT NOT NULL, created INTEGER NOT NULL, revoked INTEGER
);
CREATE TABLE users (
	name TEXT PRIMARY KEY, password_hash TEXT NOT NULL, role TEXT NOT NULL,
	disabled INTEGER NOT NULL, created INTEGER NOT NULL
);
CREATE TABLE sessions (
	hash TEXT PRIMARY KEY, user TEXT NOT NULL, created INTEGER NOT NULL, expires INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX sessions_user ON sessions (user);
CREATE INDEX sessions_expires ON sessions (expires);
CREATE TABLE audit (
	n INTEGER PRIMARY KEY, at INTEGER NOT NULL, actor TEXT NOT NULL,
	action TEXT NOT NULL, object TEXT NOT NULL, detail TEXT NOT NULL
);
`

// alertListIndexMigration makes an index that has the alerts of each status and level in the
// order in which they are listed.
const alertListIndexMigration = `
DROP INDEX alerts_status;
CREATE INDEX alerts_status ON alerts (status, level, last_seen);
`

// auditChainMigration chains the entries of the audit log.
const auditChainMigration = `
ALTER TABLE audit ADD COLUMN previous TEXT NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN hash TEXT NOT NULL DEFAULT '';
`

// eventNamespaceMigration adds what the identity of events needs. Matches from before have the
// namespace of events without a sender.
const eventNamespaceMigration = `
ALTER TABLE matches ADD COLUMN event_namespace TEXT NOT NULL DEFAULT '';
ALTER TABLE counters ADD COLUMN conflicting INTEGER NOT NULL DEFAULT 0;
CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
`

// closedAlertsIndexMigration makes an index of the alerts that retention can delete.
const closedAlertsIndexMigration = `
CREATE INDEX alerts_closed ON alerts (updated) WHERE closed = 1;
`

// hostPerAgentMigration keeps the hosts of each agent apart, and says which host a token is bound
// to. A host from before belongs to the agent that reported it last; the others that have
// open alerts on it get hosts of that name without events.
const hostPerAgentMigration = `
ALTER TABLE hosts RENAME TO hosts_by_name;
DROP INDEX hosts_seen;
CREATE TABLE hosts (
	name TEXT NOT NULL, agent_id TEXT NOT NULL, os TEXT NOT NULL,
	first_seen INTEGER NOT NULL, last_seen INTEGER NOT NULL,
	events INTEGER NOT NULL, alerts INTEGER NOT NULL, folded TEXT NOT NULL,
	PRIMARY KEY (name, agent_id)
) WITHOUT ROWID;
CREATE INDEX hosts_seen ON hosts (last_seen, name, agent_id);
INSERT INTO hosts SELECT name, agent_id, os, first_seen, last_seen, events,
	(SELECT count(*) FROM alerts WHERE host = name AND alerts.agent_id = hosts_by_name.agent_id AND closed = 0), folded FROM hosts_by_name;
INSERT INTO hosts SELECT h.name, a.agent_id, h.os, h.first_seen, h.first_seen, 0, count(*), h.folded
	FROM alerts a JOIN hosts_by_name h ON h.name = a.host AND h.agent_id <> a.agent_id WHERE a.closed = 0 GROUP BY h.name, a.agent_id;
DROP TABLE hosts_by_name;
ALTER TABLE tokens ADD COLUMN host TEXT NOT NULL DEFAULT '';
`

// damagedBlocksMigration makes a table of the blocks that are set aside (setaside.go).
const damagedBlocksMigration = `
CREATE TABLE damaged_blocks (
	seq INTEGER PRIMARY KEY, events INTEGER NOT NULL, at INTEGER NOT NULL, cause TEXT NOT NULL,
	deleted INTEGER NOT NULL -- past its retention
);
`

// migrate upgrades the schema of a file, and refuses a file that a newer picket
// wrote. Two processes may open a new file at once.
func migrate(ctx context.Context, c *sql.Conn) error {
	if _, err := c.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	defer c.ExecContext(ctx, "ROLLBACK") // fails after COMMIT
	var version int
	if err := c.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	switch {
	case version > schemaVersion:
		return fmt.Errorf("the file has schema version %d and this picket knows only up to %d: use the newer picket that wrote it", version, schemaVersion)
	case version == schemaVersion:
		return nil
	}
	for _, s := range migrations[version:] {
		if _, err := c.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("create tables: %w", err)
		}
	}
	if _, err := c.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", schemaVersion)); err != nil {
		return fmt.Errorf("create tables: %w", err)
	}
	if _, err := c.ExecContext(ctx, "COMMIT"); err != nil {
		return fmt.Errorf("create tables: %w", err)
	}
	return nil
}
