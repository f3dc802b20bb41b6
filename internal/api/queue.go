package api

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strconv"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/store"
)

// EventTotals counts every event received by its outcome:
// Received = Stored + Duplicate + Rejected + Dead + Waiting.
type EventTotals struct {
	Received  int64 `json:"received"`
	Stored    int64 `json:"stored"`
	Duplicate int64 `json:"duplicate"`
	// Conflicting are the duplicates with other content than what is stored.
	Conflicting int64 `json:"conflicting"`
	Rejected    int64 `json:"rejected"` // by the intake, which answered with the reason
	Dead        int64 `json:"dead"`     // accepted, but not processable
	Waiting     int64 `json:"waiting"`  // in the queue, not yet stored
}

// NewEventTotals combines the counters of the queue and the store.
func NewEventTotals(q queue.Stats, t store.Totals) EventTotals {
	return EventTotals{
		Received: q.Accepted + q.Rejected, Stored: t.Stored, Duplicate: t.Duplicate, Conflicting: t.Conflicting, Rejected: q.Rejected, Dead: q.Failed,
		Waiting: q.PendingEvents + q.LeasedEvents,
	}
}

func (s *Server) stats(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	q, err := s.Queue.Stats(r.Context())
	if err != nil {
		return err
	}
	t, err := s.Store.Totals(r.Context())
	if err != nil {
		return err
	}
	counts, err := s.Store.AlertCounts(r.Context())
	if err != nil {
		return err
	}
	on, off := s.Rules.List()
	return httpapi.WriteJSON(w, http.StatusOK, map[string]any{
		"flow":    NewEventTotals(q, t),
		"events":  map[string]int64{"kept": t.Events, "raw_bytes": t.RawBytes, "disk_bytes": t.DiskBytes},
		"matches": t.Matches,
		"alerts":  map[string]any{"total": counts.Total, "by_status": counts.ByStatus, "open_by_level": counts.Open},
		"rules":   map[string]int{"on": len(on), "off": len(off)},
	})
}

func (s *Server) workers(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	all, err := s.Store.Workers(r.Context(), s.Now().Add(-store.WorkerTimeout))
	if err != nil {
		return err
	}
	if all == nil {
		all = []store.Worker{}
	}
	return httpapi.WriteJSON(w, http.StatusOK, map[string]any{"workers": all})
}

func (s *Server) queue(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	st, err := s.Queue.Stats(r.Context())
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, st)
}

func (s *Server) deadLetters(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	q := queryParams{Values: r.URL.Query()}
	limit, before := q.pageLimit(), q.cursorNumber()
	if q.err != nil {
		return q.err
	}
	page, err := s.Queue.DeadLetters(r.Context(), before, limit)
	if err != nil {
		return err
	}
	cursor := ""
	if page.Next > 0 {
		cursor = strconv.FormatInt(page.Next, 10)
	}
	return httpapi.WriteJSON(w, http.StatusOK, map[string]any{"dead": nonNil(page.DeadLetters), "next": cursorOrNull(cursor)})
}

func (s *Server) requeue(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	return s.changeDeadLetters(w, r, who, s.Triage.RequeueDeadLetters)
}

func (s *Server) purge(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	return s.changeDeadLetters(w, r, who, s.Triage.PurgeDeadLetters)
}

// changeDeadLetters applies do to the dead letters that the body names, or to
// all.
func (s *Server) changeDeadLetters(w http.ResponseWriter, r *http.Request, who auth.Identity, do func(context.Context, auth.Identity, ...int64) (int, error)) error {
	var body struct {
		IDs []numericDeadLetterID `json:"ids"`
		All *bool                 `json:"all"`
	}
	if err := httpapi.ReadJSON(w, r, &body); err != nil {
		return err
	}
	all := body.All != nil && *body.All && body.IDs == nil
	if !all && (body.All != nil || len(body.IDs) == 0) {
		return fmt.Errorf("name dead letters by ids, or say all: %w", picket.ErrInvalid)
	}
	if len(body.IDs) > maxPageRows {
		return fmt.Errorf("%d ids are more than %d: %w", len(body.IDs), maxPageRows, picket.ErrInvalid)
	}
	ids := make([]int64, len(body.IDs))
	for i, id := range body.IDs {
		ids[i] = int64(id)
	}
	n, err := do(r.Context(), who, ids...)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, map[string]int{"count": n})
}

// A numericDeadLetterID is the id of a dead letter in a body. As in JSON Schema, 16.0 is
// 16.
type numericDeadLetterID int64

// UnmarshalJSON reads a whole number from 1 to maxPositiveInt.
func (id *numericDeadLetterID) UnmarshalJSON(text []byte) error {
	n, err := strconv.ParseInt(string(text), 10, 64)
	if f, ferr := strconv.ParseFloat(string(text), 64); err != nil && ferr == nil && f == math.Trunc(f) && math.Abs(f) <= maxPositiveInt {
		n, err = int64(f), nil
	}
	if err != nil || n < 1 || n > maxPositiveInt {
		return fmt.Errorf("ids has %.40s, which is no number from 1 to %d", text, int64(maxPositiveInt))
	}
	*id = numericDeadLetterID(n)
	return nil
}
