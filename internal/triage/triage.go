// Package triage carries out what people decide: the status, assignee and
// notes of an alert, whether dead letters are requeued or purged, and whether
// a rule is enabled. The console, the API and the legacy API all call it, so
// that a decision has the same bounds and leaves the same audit entry
// whichever way it arrives.
package triage

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/audit"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/store"
)

// Bounds in characters of what people write about an alert.
const (
	MaxNoteChars     = 10_000
	MaxAssigneeChars = 256
)

// MaxAlertsPerUpdate is how many alerts UpdateAlerts changes at once.
const MaxAlertsPerUpdate = 1000

// Alerts updates alerts.
type Alerts interface {
	UpdateAlert(ctx context.Context, id string, u store.AlertUpdate) (picket.Alert, error)
}

// DeadLetters requeues and purges dead letters: those named, or all.
type DeadLetters interface {
	Requeue(ctx context.Context, ids ...int64) (int, error)
	Purge(ctx context.Context, ids ...int64) (int, error)
}

// Users finds the people to whom alerts are assigned.
type Users interface {
	User(ctx context.Context, name string) (store.User, error)
}

// Rules enables and disables rules.
type Rules interface {
	SetEnabled(ctx context.Context, id string, on bool) error
}

// A Service carries out decisions. All fields are needed but those of decisions that
// are not asked for. It is safe for concurrent use.
type Service struct {
	Alerts      Alerts
	Users       Users
	DeadLetters DeadLetters
	Rules       Rules
	Audit       *audit.Recorder
	Now         func() time.Time
}

// UpdateAlert changes what u names of an alert, in who's name. An unknown
// status, a note or assignee past its bound, and an update that changes
// nothing are picket.ErrInvalid.
func (s *Service) UpdateAlert(ctx context.Context, who auth.Identity, id string, u store.AlertUpdate) (picket.Alert, error) {
	if err := checkUpdate(u); err != nil {
		return picket.Alert{}, err
	}
	u.Author, u.At = who.Author(), s.Now().UTC()
	a, err := s.Alerts.UpdateAlert(ctx, id, u)
	if err != nil {
		return a, err
	}
	var detail []string
	if u.Status != nil {
		detail = append(detail, "status="+string(*u.Status))
	}
	if u.Assignee != nil {
		detail = append(detail, "assignee="+*u.Assignee)
	}
	if u.Note != "" {
		detail = append(detail, "note")
	}
	s.Audit.Record(ctx, who, "alert.update", id, strings.Join(detail, " "))
	return a, nil
}

// checkUpdate returns picket.ErrInvalid for an update that no alert can take.
func checkUpdate(u store.AlertUpdate) error {
	switch {
	case u.Status != nil && !u.Status.Valid():
		return fmt.Errorf("status %q is none of open, investigating, resolved, false_positive: %w", *u.Status, picket.ErrInvalid)
	case u.Status == nil && u.Assignee == nil && u.Note == "":
		return fmt.Errorf("nothing to change; give status, assignee or note: %w", picket.ErrInvalid)
	case utf8.RuneCountInString(u.Note) > MaxNoteChars:
		return fmt.Errorf("the note is too long: it may have %d characters: %w", MaxNoteChars, picket.ErrInvalid)
	case u.Assignee != nil && utf8.RuneCountInString(*u.Assignee) > MaxAssigneeChars:
		return fmt.Errorf("the assignee is too long: the name may have %d characters: %w", MaxAssigneeChars, picket.ErrInvalid)
	}
	return nil
}

// An AlertFailure is an alert that could not be updated.
type AlertFailure struct {
	ID  string
	Err error
}

// UpdateAlerts is UpdateAlert for up to MaxAlertsPerUpdate alerts, each once. It returns
// how many it has updated, and those that it could not. An alert that is not there, or
// that is in conflict with the update, does not stop the others. err is picket.ErrInvalid,
// and nothing has changed then, or the error of a store that failed, and the rest has not.
func (s *Service) UpdateAlerts(ctx context.Context, who auth.Identity, ids []string, u store.AlertUpdate) (updated int, failed []AlertFailure, err error) {
	if len(ids) == 0 || len(ids) > MaxAlertsPerUpdate {
		return 0, nil, fmt.Errorf("%d alerts are named: it must be 1 to %d: %w", len(ids), MaxAlertsPerUpdate, picket.ErrInvalid)
	}
	if err := checkUpdate(u); err != nil {
		return 0, nil, err
	}
	seen := make(map[string]bool, len(ids))
	for _, id := range ids {
		if seen[id] {
			continue
		}
		seen[id] = true
		switch _, err := s.UpdateAlert(ctx, who, id, u); {
		case err == nil:
			updated++
		case errors.Is(err, picket.ErrNotFound) || errors.Is(err, picket.ErrConflict):
			failed = append(failed, AlertFailure{id, err})
		default:
			return updated, failed, fmt.Errorf("update %d alerts: stopped after %d: %w", len(ids), updated+len(failed), err)
		}
	}
	return updated, failed, nil
}

// CheckAssignee is picket.ErrConflict if name is not a user who can sign in. The legacy API,
// whose clients assign alerts to e-mail addresses, does not check.
func (s *Service) CheckAssignee(ctx context.Context, name string) error {
	if name == "" || utf8.RuneCountInString(name) > MaxAssigneeChars {
		return nil // no one; UpdateAlert refuses the long name
	}
	u, err := s.Users.User(ctx, name)
	if err == nil && u.Disabled || errors.Is(err, picket.ErrNotFound) {
		return fmt.Errorf("assignee %q is not a user who can sign in: %w", name, picket.ErrConflict)
	}
	return err
}

// RequeueDeadLetters puts dead letters back into the queue, those named or all of them,
// and returns how many.
func (s *Service) RequeueDeadLetters(ctx context.Context, who auth.Identity, ids ...int64) (requeued int, err error) {
	return s.changeDeadLetters(ctx, who, "queue.requeue", s.DeadLetters.Requeue, ids)
}

// PurgeDeadLetters deletes dead letters, those named or all of them, and returns how
// many.
func (s *Service) PurgeDeadLetters(ctx context.Context, who auth.Identity, ids ...int64) (purged int, err error) {
	return s.changeDeadLetters(ctx, who, "queue.purge", s.DeadLetters.Purge, ids)
}

func (s *Service) changeDeadLetters(ctx context.Context, who auth.Identity, action string, do func(context.Context, ...int64) (int, error), ids []int64) (int, error) {
	n, err := do(ctx, ids...)
	if err != nil {
		return 0, err
	}
	object := "all"
	if len(ids) > 0 {
		object = fmt.Sprint(ids)
	}
	s.Audit.Record(ctx, who, action, object, strconv.Itoa(n)+" dead letters")
	return n, nil
}

// SetRuleEnabled enables or disables a rule; picket.ErrNotFound if there is no
// such rule.
func (s *Service) SetRuleEnabled(ctx context.Context, who auth.Identity, id string, enabled bool) error {
	if err := s.Rules.SetEnabled(ctx, id, enabled); err != nil {
		return err
	}
	s.Audit.Record(ctx, who, "rule.switch", id, fmt.Sprintf("enabled=%t", enabled))
	return nil
}
