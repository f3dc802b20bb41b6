package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"
)

// AuditLog stores who did what. Its entries form a chain: each holds a hash of
// itself and the one before, so that a later change or deletion shows. Whoever can
// write to the database can also make a new chain; the process log has the hashes
// too.
type AuditLog interface {
	// AddAuditEntry appends an entry and returns it with N, Previous and Hash set.
	AddAuditEntry(ctx context.Context, e AuditEntry) (AuditEntry, error)
	// AuditEntries lists the entries that q selects, newest first.
	AuditEntries(ctx context.Context, q AuditQuery) ([]AuditEntry, error)
	// PruneAudit deletes the oldest entries: those before a time and those beyond
	// the newest maxEntries. It returns how many it has deleted.
	PruneAudit(ctx context.Context, before time.Time, maxEntries int) (int64, error)
}

// An AuditEntry says who did what to which object.
type AuditEntry struct {
	N      int64     `json:"n"` // the order of the entries
	Time   time.Time `json:"time"`
	Actor  string    `json:"actor"`
	Action string    `json:"action"` // as in "alert.update", "token.create", "sign-in"
	Object string    `json:"object"`
	Detail string    `json:"detail,omitempty"`
	// Previous is the Hash of the entry before, "" of the first. Both are "" in
	// entries of stores that had no chain yet.
	Previous string `json:"previous,omitempty"`
	Hash     string `json:"hash,omitempty"`
}

// An AuditHead says which entries an audit log has: those from First to Last. Hash is that
// of the last one.
type AuditHead struct {
	First int64  `json:"first"`
	Last  int64  `json:"last"`
	Hash  string `json:"hash"`
}

// An AuditQuery selects entries of the audit log. The zero value selects all.
type AuditQuery struct {
	Actor, Action string // "": any
	Before        int64  // N of the last entry of the page before; 0: the newest
	Limit         int    // 0: 100
}

// ChainHash returns the Hash of e: the hexadecimal SHA-256 of a JSON array of
// Previous, Time in microseconds since 1970, Actor, Action, Object and Detail.
func (e *AuditEntry) ChainHash() string {
	text, _ := json.Marshal([]any{e.Previous, e.Time.UnixMicro(), e.Actor, e.Action, e.Object, e.Detail}) // strings and numbers always encode
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
