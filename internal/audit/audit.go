// Package audit records who did what: every change that a person or a program
// makes through the console, the API or a command is an entry in the store.
package audit

import (
	"context"
	"log/slog"
	"time"

	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/store"
)

// A Store keeps audit entries.
type Store interface {
	AddAuditEntry(ctx context.Context, e store.AuditEntry) error
}

// A Recorder writes audit entries. It is safe for concurrent use.
type Recorder struct {
	store Store
	log   *slog.Logger
	now   func() time.Time

	refusals refusals
}

// NewRecorder returns a recorder that writes to s.
func NewRecorder(s Store, log *slog.Logger, now func() time.Time) *Recorder {
	return &Recorder{store: s, log: log, now: now}
}

// Record stores that who did action to object. The action has been carried out
// by then, so an entry that cannot be stored is logged and is no error.
func (r *Recorder) Record(ctx context.Context, who auth.Identity, action, object, detail string) {
	e := store.AuditEntry{Time: r.now().UTC(), Actor: who.String(), Action: action, Object: object, Detail: detail}
	if err := r.store.AddAuditEntry(ctx, e); err != nil {
		r.log.Error("audit entry not stored", "actor", e.Actor, "action", action, "object", object, "error", err)
	}
}
