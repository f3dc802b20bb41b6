package api

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/normalize"
	"github.com/picket-edr/picket/internal/store"
)

// events answers a page of events, or with count_by how many events there are.
func (s *Server) events(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	q := queryParams{Values: r.URL.Query()}
	eq := store.EventQuery{Since: q.timeParam("since", s.Now()), Until: q.timeParam("until", s.Now()), Limit: q.pageLimit(), Cursor: q.Get("cursor")}
	fields, countBy := q.fieldNames("fields"), q.fieldNames("count_by")
	if countBy != nil && (fields != nil || eq.Cursor != "") {
		return fmt.Errorf("parameter count_by does not go with fields or cursor, which are of pages of events: %w", picket.ErrInvalid)
	}
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
	var notes []string
	if eq.Cursor == "" {
		var err error
		named := slices.Concat(store.QueryFields(eq.Where), fields, countBy)
		if notes, err = store.UnknownFieldNotes(r.Context(), s.Store, named, normalize.TaxonomyFields()); err != nil {
			return err
		}
		notes = append(notes, store.ComparisonNotes(eq.Where)...)
	}
	if countBy != nil {
		return s.writeEventCounts(w, r, eq, countBy, notes)
	}
	if fields == nil {
		eq.OnlyFields = []string{} // the answer has the events as received
	}
	page, err := s.Store.SearchEvents(r.Context(), eq)
	if err != nil {
		return err
	}
	return writeEventPage(w, page, fields, notes)
}

// maxNamedFields bounds the fields that a request names.
const maxNamedFields = 32

// fieldNames returns the names in a parameter, with commas between them.
func (q *queryParams) fieldNames(name string) []string {
	if !q.Has(name) {
		return nil
	}
	v := q.Get(name)
	names := strings.Split(v, ",")
	if len(names) > maxNamedFields || slices.Contains(names, "") {
		q.recordError(name, v, fmt.Sprintf("up to %d names of fields with commas between them", maxNamedFields))
	}
	return names
}

// writeEventPage answers a page of events: as received, or with fields the values of
// those.
func writeEventPage(w http.ResponseWriter, page store.EventPage, fields, notes []string) error {
	size := 1 << 10
	for i := range page.Events {
		size += store.EventSize(&page.Events[i])
	}
	b := append(make([]byte, 0, size), `{"events":[`...)
	var view store.EventView
	for i := range page.Events {
		ev := &page.Events[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = appendUnclosedEventSummary(b, ev)
		if fields == nil {
			b = append(append(append(b, `,"event":`...), ev.Raw...), '}')
			continue
		}
		view.Reset(ev)
		values := make(map[string]store.FieldValue, len(fields))
		for _, field := range fields {
			values[field] = view.FieldValue(field)
		}
		b = append(append(append(b, `,"fields":`...), marshalJSON(values)...), '}')
	}
	b = append(b, `],"next":`...)
	if page.Next == "" {
		b = append(b, "null"...)
	} else {
		b = strconv.AppendQuote(b, page.Next) // cursors are plain ASCII
	}
	if notes != nil {
		b = append(append(b, `,"notes":`...), marshalJSON(notes)...)
	}
	return httpapi.WriteRawJSON(w, http.StatusOK, append(b, '}'))
}

// An eventCount is how many events have a combination of values.
type eventCount struct {
	Count  int64                       `json:"count"`
	Values map[string]store.FieldValue `json:"values"`
}

// writeEventCounts answers how many events that q selects have each combination of
// values in fields.
func (s *Server) writeEventCounts(w http.ResponseWriter, r *http.Request, q store.EventQuery, fields, notes []string) error {
	counts, err := s.Store.CountEvents(r.Context(), q, fields)
	if err != nil {
		return err
	}
	answer := struct {
		Counts       []eventCount `json:"counts"`
		Combinations int          `json:"combinations"`
		Events       int64        `json:"events"`
		Uncounted    int64        `json:"uncounted"`
		Notes        []string     `json:"notes,omitempty"`
	}{[]eventCount{}, counts.Len(), counts.Events, counts.Uncounted, notes}
	for _, c := range counts.Top(q.Limit) {
		values := make(map[string]store.FieldValue, len(fields))
		for i, field := range fields {
			values[field] = c.Values[i]
		}
		answer.Counts = append(answer.Counts, eventCount{c.Count, values})
	}
	return httpapi.WriteJSON(w, http.StatusOK, answer)
}

// event answers the event that the path and the query name. If those name several, it
// answers 300 and lists them.
func (s *Server) event(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	ev, err := s.Store.Event(r.Context(), eventSelector(r))
	if ambiguous, ok := errors.AsType[*store.AmbiguousEventError](err); ok {
		return httpapi.WriteJSON(w, http.StatusMultipleChoices, newAmbiguousEventAnswer(ambiguous))
	}
	if err != nil {
		return err
	}
	return httpapi.WriteRawJSON(w, http.StatusOK, appendEvent(nil, &ev))
}

// rawEvent answers the bytes of the event as they were received.
func (s *Server) rawEvent(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	ev, err := s.Store.Event(r.Context(), eventSelector(r))
	if ambiguous, ok := errors.AsType[*store.AmbiguousEventError](err); ok {
		return httpapi.WriteJSON(w, http.StatusMultipleChoices, newAmbiguousEventAnswer(ambiguous))
	}
	if err != nil {
		return err
	}
	return httpapi.WriteRawJSON(w, http.StatusOK, ev.Raw)
}

// eventSelector returns which event the path and the query of a request name.
func eventSelector(r *http.Request) store.EventSelector {
	q := r.URL.Query()
	return store.EventSelector{ID: r.PathValue("id"), Namespace: q.Get("namespace"), AgentID: q.Get("agent_id"), Sender: q.Get("sender"), Index: q.Get("index")}
}

// An ambiguousEventAnswer lists the events that have the same id.
type ambiguousEventAnswer struct {
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

func newAmbiguousEventAnswer(e *store.AmbiguousEventError) ambiguousEventAnswer {
	c := ambiguousEventAnswer{Error: e.Error(), Events: make([]eventSummary, len(e.Events)), More: e.More}
	for i := range e.Events {
		ev := &e.Events[i]
		c.Events[i] = eventSummary{ev.ID, ev.AgentID, ev.Host, ev.Type, store.RefOf(ev).Namespace, ev.Sender, ev.Index, ev.Time, ev.Received}
	}
	return c
}

// appendEvent appends an event as JSON. It writes the JSON itself to keep the
// received event byte for byte.
func appendEvent(b []byte, ev *picket.Event) []byte {
	b = append(appendUnclosedEventSummary(b, ev), `,"event":`...)
	return append(append(b, ev.Raw...), '}')
}

// appendUnclosedEventSummary appends an event as JSON without its content and without
// the end of the object.
func appendUnclosedEventSummary(b []byte, ev *picket.Event) []byte {
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
	return b
}

func appendJSON(b []byte, s string) []byte { return append(b, marshalJSON(s)...) }

// marshalJSON returns what always marshals, as strings do.
func marshalJSON(v any) []byte {
	b, _ := httpapi.MarshalJSON(v)
	return b
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
