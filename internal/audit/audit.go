// Package audit records who did what: every change that a person or a program
// makes through the console, the API or a command is an entry in the store.
package audit

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/store"
)

// A Store keeps audit entries.
type Store interface {
	AddAuditEntry(ctx context.Context, e store.AuditEntry) (store.AuditEntry, error)
}

// A Recorder writes audit entries. It is safe for concurrent use.
type Recorder struct {
	store Store
	log   *slog.Logger
	now   func() time.Time

	refusals signInRefusalCounts
}

// NewRecorder returns a recorder that writes to s.
func NewRecorder(s Store, log *slog.Logger, now func() time.Time) *Recorder {
	return &Recorder{store: s, log: log, now: now}
}

// Record stores that who did action to object, and logs it. The action has been
// carried out by then, so an entry that cannot be stored is logged and is no error.
func (r *Recorder) Record(ctx context.Context, who auth.Identity, action, object, detail string) {
	e, err := r.store.AddAuditEntry(ctx, NewEntry(r.now(), who.String(), action, object, detail))
	if err != nil {
		r.log.Error("audit entry not stored", "actor", who.String(), "action", action, "object", object, "error", err)
		return
	}
	r.log.Info("audit", "actor", e.Actor, "action", action, "object", e.Object, "detail", e.Detail, "hash", e.Hash)
}

// maxTextBytes bounds an entry's object and its detail.
const maxTextBytes = 1 << 10

// NewEntry returns an entry for a store. Longer texts than 1 KiB are cut.
func NewEntry(now time.Time, actor, action, object, detail string) store.AuditEntry {
	return store.AuditEntry{Time: now.UTC(), Actor: truncate(actor), Action: action, Object: truncate(object), Detail: truncate(detail)}
}

func truncate(s string) string {
	if len(s) <= maxTextBytes {
		return s
	}
	return strings.ToValidUTF8(s[:maxTextBytes-len("…")], "") + "…"
}
