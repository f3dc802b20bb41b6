package api

import (
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
	eq := store.EventQuery{Since: q.time("since"), Until: q.time("until"), Limit: q.limit(), Cursor: q.Get("cursor"),
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
	return httpapi.Write(w, http.StatusOK, append(b, '}'))
}

func (s *Server) event(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	ev, err := s.Store.Event(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return httpapi.Write(w, http.StatusOK, appendEvent(nil, &ev))
}

// rawEvent answers the bytes of the event as they were received.
func (s *Server) rawEvent(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	ev, err := s.Store.Event(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return httpapi.Write(w, http.StatusOK, ev.Raw)
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
	b = append(b, `,"time":"`...)
	b = ev.Time.AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","received":"`...)
	b = ev.Received.AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","event":`...)
	b = append(b, ev.Raw...)
	return append(b, '}')
}

func appendJSON(b []byte, s string) []byte {
	q, _ := httpapi.Marshal(s) // a string always marshals
	return append(b, q...)
}

func (s *Server) hosts(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	q := queryParams{Values: r.URL.Query()}
	limit := q.limit()
	if q.err != nil {
		return q.err
	}
	page, err := s.Store.Hosts(r.Context(), q.Get("text"), limit, q.Get("cursor"))
	if err != nil {
		return err
	}
	return httpapi.JSON(w, http.StatusOK, map[string]any{"hosts": orEmpty(page.Hosts), "next": nextCursor(page.Next)})
}
