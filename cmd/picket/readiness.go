package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/ruleset"
)

// A readiness is the state of each part of the server.
type readiness map[string]partState

// A partState is the state of one part.
type partState struct {
	err  error  // why the part is not usable; nil if it is
	note string // what to know of a usable part
}

// serveReadiness answers GET /readyz: whether disk, queue, store and rules are usable.
func (s *server) serveReadiness(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	state := s.readiness(ctx)
	if err := state.err(); err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, state.messages())
}

func (s *server) readiness(ctx context.Context) readiness {
	var disk, rules partState
	queueState := partState{err: s.queue.ready(ctx), note: s.bufferNote(ctx)}
	if local := s.queue.local; local != nil {
		space := local.DiskSpace()
		text := fmt.Sprintf("nearly full: %d MiB are free, and --min-free-disk is %d MiB", space.Free>>20, space.MinFree>>20)
		switch {
		case errors.Is(queueState.err, queue.ErrDiskFull):
			disk.err = httpapi.Errorf(http.StatusServiceUnavailable, "%s; telemetry is refused until there is room", text)
		case space.Low: // and not needed now, because the remote queue is reachable
			disk.note = text
		}
	}
	_, storeErr := s.store.Totals(ctx)
	if s.rules.Engine().Rules().Len() == 0 {
		rules.err = httpapi.Errorf(http.StatusServiceUnavailable, "no rule is loaded")
	}
	loaded, _ := s.rules.Status()
	rules.note = ruleProblemNote(&loaded)
	return readiness{"disk": disk, "queue": queueState, "store": {err: storeErr}, "rules": rules}
}

// ruleProblemNote says how many rules did not load, "" if all did. Those of packs are
// not counted: some of a large collection never load.
func ruleProblemNote(loaded *ruleset.LoadedRules) string {
	n := 0
	for _, p := range loaded.Problems {
		if p.Pack == "" {
			n++
		}
	}
	if n == 0 {
		return ""
	}
	note := quantity(n, "problem") + " in rules"
	if earlier := loaded.FilesInEarlierVersion(); earlier > 0 {
		note += fmt.Sprintf("; %s in an earlier version, because the present one does not load", quantity(earlier, "file"))
	}
	return note
}

// bufferNote says what waits in the disk buffer, "" if nothing does.
func (s *server) bufferNote(ctx context.Context) string {
	buffer := s.queue.buffer
	if buffer == nil || !buffer.Degraded() {
		return ""
	}
	st, err := buffer.BufferStats(ctx)
	if err != nil {
		return "batches are buffered on the server's disk"
	}
	return fmt.Sprintf("batches are buffered on the server's disk until the queue is reachable: %d batches, %d events, the oldest for %.0f s",
		st.Pending+st.Leased, st.PendingEvents+st.LeasedEvents, st.OldestAge)
}

// err returns a notReadyError if a part is not usable.
func (r readiness) err() error {
	for _, part := range r {
		if part.err != nil {
			return &notReadyError{r}
		}
	}
	return nil
}

// messages returns the state of each part, without what names hosts or files.
func (r readiness) messages() map[string]string {
	texts := make(map[string]string)
	for name, part := range r {
		var known []string
		if part.err != nil {
			known = append(known, httpapi.ClientMessage(part.err))
		}
		if part.note != "" {
			known = append(known, part.note)
		}
		texts[name] = cmp.Or(strings.Join(known, "; "), "ok")
	}
	return texts
}

// A notReadyError has the errors of the parts that are not usable. The log has them in
// full.
type notReadyError struct{ readiness readiness }

func (e *notReadyError) Error() string {
	var texts []string
	for _, name := range [...]string{"disk", "queue", "store", "rules"} {
		if err := e.readiness[name].err; err != nil {
			texts = append(texts, name+": "+err.Error())
		}
	}
	return strings.Join(texts, "; ")
}

// Unwrap makes the status 503.
func (e *notReadyError) Unwrap() error { return picket.ErrUnavailable }

// writeNotReady answers that the server is not ready.
func writeNotReady(w http.ResponseWriter, r *http.Request, err error) {
	e, ok := errors.AsType[*notReadyError](err)
	if !ok {
		httpapi.WriteError(w, r, err)
		return
	}
	httpapi.SetErrorHeaders(w, err)
	httpapi.WriteJSON(w, httpapi.StatusOf(err), e.readiness.messages())
}
