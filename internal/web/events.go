package web

import (
	"cmp"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/sigma"
)

type eventsView struct {
	Query string
	timeRange
	Events []eventRow
	Next   string
	Error  string
	Took   time.Duration
}

// eventRow is an event in a list with its summary.
type eventRow struct {
	picket.Event
	Category string
	Line     string
}

func (c *Console) events(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	q := r.URL.Query()
	v := eventsView{Query: q.Get("q"), timeRange: timeRange{q.Get("since"), q.Get("until")}}
	eq := store.EventQuery{Limit: rowsPerPage, Cursor: q.Get("cursor"), OnlyFields: summaryFields}
	var err error
	eq.Since, eq.Until, err = v.parse(c.Now())
	if text := strings.TrimSpace(v.Query); text != "" && err == nil {
		eq.Where, err = store.ParseQuery(text)
	}
	if err == nil {
		var page store.EventPage
		start := time.Now()
		page, err = c.Store.SearchEvents(r.Context(), eq)
		v.Took, v.Next = time.Since(start).Round(100*time.Microsecond), nextLink(r.URL, page.Next)
		var view store.EventView
		for _, ev := range page.Events {
			view.Reset(&ev)
			v.Events = append(v.Events, eventRow{ev, view.Category(), cmp.Or(summaryText(ev.Fields), string(ev.Raw))})
		}
	}
	status := http.StatusOK
	if errors.Is(err, picket.ErrInvalid) { // the page shows the error beside the query
		v.Error, status = httpapi.ClientMessage(err), http.StatusBadRequest
	} else if err != nil {
		return err
	}
	return c.render(w, status, "events.html", pageData{Title: "Events", Section: "events", Who: who, Page: v})
}

// summaryFields are the fields that describe an event best, best first.
var summaryFields = []string{"CommandLine", "TargetFilename", "TargetObject", "QueryName", "DestinationIp", "ScriptBlockText", "ImageLoaded", "PipeName", "Image", "Message", "message"}

// summaryText returns the first of summaryFields that an event has.
func summaryText(fields []sigma.Field) string {
	for _, name := range summaryFields {
		for _, f := range fields {
			if f.Name == name && f.Value.Text != "" {
				return f.Value.Text
			}
		}
	}
	return ""
}

type eventView struct {
	Event      *picket.Event
	Fields     []sigma.Field // the first maxShownFields
	MoreFields int
	Raw        string
	Matches    []picket.Match
}

// maxShownFields is how many fields of an event its page shows.
const maxShownFields = 1000

func (c *Console) event(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	q := r.URL.Query()
	ref := store.EventSelector{ID: r.PathValue("id"), Namespace: q.Get("namespace"), AgentID: q.Get("agent_id")}
	ev, err := c.Store.Event(r.Context(), ref)
	if ambiguous, ok := errors.AsType[*store.AmbiguousEventError](err); ok {
		return c.render(w, http.StatusMultipleChoices, "eventchoice.html", pageData{Title: "Event " + ref.ID, Section: "events", Who: who, Page: ambiguous})
	}
	if err != nil {
		return err
	}
	page, err := c.Store.Matches(r.Context(), store.MatchQuery{EventID: ev.ID, EventNamespace: store.RefOf(&ev).Namespace})
	if err != nil {
		return err
	}
	v := eventView{Event: &ev, Fields: ev.Fields[:min(len(ev.Fields), maxShownFields)], Raw: indentJSON(ev.Raw, maxShownEventBytes), Matches: page.Matches}
	v.MoreFields = len(ev.Fields) - len(v.Fields)
	for i := range v.Matches {
		if rule := c.rule(v.Matches[i].RuleID); rule != nil {
			v.Matches[i].Title = rule.Title
		}
	}
	return c.render(w, http.StatusOK, "event.html", pageData{Title: "Event " + ev.ID, Section: "events", Who: who, Page: v})
}
