package api

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/store"
)

func (s *Server) events(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	q := queryParams{Values: r.URL.Query()}
	eq := store.EventQuery{Since: q.timeParam("since"), Until: q.timeParam("until"), Limit: q.pageLimit(), Cursor: q.Get("cursor"),
		OnlyFields: []string{}} // the answer has the events as received
	if q.err != nil {
		return q.err
	}
	if text := q.Get("q"); text != "" {
		where, err := store.ParseQuery(text)
		if err != nil {
			return err
		}
		eq.Where = where
	}
	page, err := s.Store.SearchEvents(r.Context(), eq)
	if err != nil {
		return err
	}
	size := 1 << 10
	for i := range page.Events {
		size += store.EventSize(&page.Events[i])
	}
	b := append(make([]byte, 0, size), `{"events":[`...)
	for i := range page.Events {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendEvent(b, &page.Events[i])
	}
	b = append(b, `],"next":`...)
	if page.Next == "" {
		b = append(b, "null"...)
	} else {
		b = strconv.AppendQuote(b, page.Next) // cursors are plain ASCII
	}
	return httpapi.WriteRawJSON(w, http.StatusOK, append(b, '}'))
}

// event answers the event that the path and the query name. If those name several, it
// answers 300 and lists them.
func (s *Server) event(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	ev, err := s.Store.Event(r.Context(), eventRef(r))
	if ambiguous, ok := errors.AsType[*store.AmbiguousEventError](err); ok {
		return httpapi.WriteJSON(w, http.StatusMultipleChoices, newEventChoice(ambiguous))
	}
	if err != nil {
		return err
	}
	return httpapi.WriteRawJSON(w, http.StatusOK, appendEvent(nil, &ev))
}

// rawEvent answers the bytes of the event as they were received.
func (s *Server) rawEvent(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	ev, err := s.Store.Event(r.Context(), eventRef(r))
	if ambiguous, ok := errors.AsType[*store.AmbiguousEventError](err); ok {
		return httpapi.WriteJSON(w, http.StatusMultipleChoices, newEventChoice(ambiguous))
	}
	if err != nil {
		return err
	}
	return httpapi.WriteRawJSON(w, http.StatusOK, ev.Raw)
}

// eventRef returns the reference to an event that a request makes.
func eventRef(r *http.Request) store.EventSelector {
	q := r.URL.Query()
	return store.EventSelector{ID: r.PathValue("id"), Namespace: q.Get("namespace"), AgentID: q.Get("agent_id"), Sender: q.Get("sender"), Index: q.Get("index")}
}

// An eventChoice lists the events that have the same id.
type eventChoice struct {
	Error  string         `json:"error"`
	Events []eventSummary `json:"events"`
	More   bool           `json:"more"`
}

// An eventSummary is an event without its content.
type eventSummary struct {
	EventID   string    `json:"event_id"`
	AgentID   string    `json:"agent_id"`
	Host      string    `json:"host"`
	EventType string    `json:"event_type"`
	Namespace string    `json:"namespace"`
	Sender    string    `json:"sender"`
	Index     string    `json:"index,omitempty"`
	Time      time.Time `json:"time"`
	Received  time.Time `json:"received"`
}

func newEventChoice(e *store.AmbiguousEventError) eventChoice {
	c := eventChoice{Error: e.Error(), Events: make([]eventSummary, len(e.Events)), More: e.More}
	for i := range e.Events {
		ev := &e.Events[i]
		c.Events[i] = eventSummary{ev.ID, ev.AgentID, ev.Host, ev.Type, store.RefOf(ev).Namespace, ev.Sender, ev.Index, ev.Time, ev.Received}
	}
	return c
}

// appendEvent appends an event as JSON. It writes the JSON itself to keep the
// received event byte for byte.
func appendEvent(b []byte, ev *picket.Event) []byte {
	b = append(b, `{"id":`...)
	b = appendJSON(b, ev.ID)
	b = append(b, `,"event_id":`...)
	b = appendJSON(b, ev.ID)
	b = append(b, `,"agent_id":`...)
	b = appendJSON(b, ev.AgentID)
	b = append(b, `,"host":`...)
	b = appendJSON(b, ev.Host)
	b = append(b, `,"event_type":`...)
	b = appendJSON(b, ev.Type)
	b = append(b, `,"namespace":`...)
	b = appendJSON(b, store.RefOf(ev).Namespace)
	b = append(b, `,"sender":`...)
	b = appendJSON(b, ev.Sender)
	if ev.Index != "" {
		b = append(b, `,"index":`...)
		b = appendJSON(b, ev.Index)
	}
	b = append(b, `,"time":"`...)
	b = ev.Time.AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","received":"`...)
	b = ev.Received.AppendFormat(b, time.RFC3339Nano)
	b = append(b, '"')
	if ev.IsFromFuture() {
		b = append(b, `,"from_future":true`...)
	}
	b = append(b, `,"event":`...)
	b = append(b, ev.Raw...)
	return append(b, '}')
}

func appendJSON(b []byte, s string) []byte {
	q, _ := httpapi.MarshalJSON(s) // a string always marshals
	return append(b, q...)
}

func (s *Server) hosts(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	q := queryParams{Values: r.URL.Query()}
	limit := q.pageLimit()
	if q.err != nil {
		return q.err
	}
	page, err := s.Store.Hosts(r.Context(), q.Get("text"), limit, q.Get("cursor"))
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, map[string]any{"hosts": nonNil(page.Hosts), "next": cursorOrNull(page.Next)})
}
