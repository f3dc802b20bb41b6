package storetest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/sigma"
)

// largeText is a text of which three fill a page.
var largeText = strings.Repeat("long text ", store.MaxPageBytes*3/100)

// testPageBytes checks that pages of large rows end at store.MaxPageBytes, that they
// have at least one row, and that their cursors lead to all rows.
func testPageBytes(t *testing.T, s store.Store) {
	const n = 12
	for i := range n {
		ev := makeEvent(t, i, fmt.Sprintf(`{"n":%d,"name":%q}`, i, largeText))
		ev.Host = fmt.Sprintf("host-%02d", i)
		m := makeMatch(fmt.Sprintf("rule-%02d", i), ev)
		m.Why = []sigma.Evidence{{Field: "name", Value: largeText}}
		m.Title = largeText
		if i == 5 { // larger than a page
			m.Title += largeText + largeText + largeText
		}
		save(t, s, store.Batch{ID: fmt.Sprint("b", i), Events: []picket.Event{ev}, Matches: []picket.Match{m}})
	}
	var want []string
	for i := n - 1; i >= 0; i-- {
		want = append(want, fmt.Sprintf("%02d", i))
	}
	suffix := func(s string) string { return s[len(s)-2:] }
	open := []picket.AlertStatus{picket.StatusOpen}
	for _, c := range []struct {
		name string
		page func(cursor string) (rows []string, bytes int, next string, err error)
	}{
		{"events", func(cursor string) (rows []string, bytes int, next string, err error) {
			p, err := s.SearchEvents(t.Context(), store.EventQuery{Cursor: cursor})
			for i := range p.Events {
				rows, bytes = append(rows, suffix(p.Events[i].ID)), bytes+store.EventSize(&p.Events[i])
			}
			return rows, bytes, p.Next, err
		}},
		{"events of a query", func(cursor string) (rows []string, bytes int, next string, err error) {
			p, err := s.SearchEvents(t.Context(), store.EventQuery{Where: store.NewTextTerm("long text"), Cursor: cursor, OnlyFields: []string{}})
			for i := range p.Events {
				rows, bytes = append(rows, suffix(p.Events[i].ID)), bytes+store.EventSize(&p.Events[i])
			}
			return rows, bytes, p.Next, err
		}},
		{"alerts", func(cursor string) ([]string, int, string, error) {
			return alertPage(s.Alerts(t.Context(), store.AlertQuery{Cursor: cursor}))
		}},
		{"open alerts", func(cursor string) ([]string, int, string, error) {
			return alertPage(s.Alerts(t.Context(), store.AlertQuery{Cursor: cursor, Status: open}))
		}},
		{"matches", func(cursor string) (rows []string, bytes int, next string, err error) {
			p, err := s.Matches(t.Context(), store.MatchQuery{Cursor: cursor})
			for i := range p.Matches {
				rows, bytes = append(rows, suffix(p.Matches[i].RuleID)), bytes+store.ListedMatchSize(&p.Matches[i])
			}
			return rows, bytes, p.Next, err
		}},
	} {
		var got []string
		pages := 0
		for cursor := ""; ; pages++ {
			rows, bytes, next, err := c.page(cursor)
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			if len(rows) == 0 || len(rows) > 1 && bytes > store.MaxPageBytes {
				t.Fatalf("%s: page of %d rows and %d bytes", c.name, len(rows), bytes)
			}
			got = append(got, rows...)
			if cursor = next; cursor == "" {
				break
			}
		}
		checkEqual(t, c.name, got, want)
		if pages < n/4 || pages > n {
			t.Errorf("%s: %d pages", c.name, pages)
		}
	}
}

func alertPage(p store.AlertPage, err error) (rows []string, bytes int, next string, _ error) {
	for i := range p.Alerts {
		rows, bytes = append(rows, p.Alerts[i].RuleID[len(p.Alerts[i].RuleID)-2:]), bytes+store.ListedAlertSize(&p.Alerts[i])
	}
	return rows, bytes, p.Next, err
}

// testOnlyFields checks what EventQuery.OnlyFields leaves of events.
func testOnlyFields(t *testing.T, s store.Store) {
	evs := unusualEvents(t)
	save(t, s, store.Batch{ID: "b1", Events: evs[:5]})
	save(t, s, store.Batch{ID: "b2", Events: evs[5:]})
	for _, names := range [][]string{nil, {}, {"CommandLine", "long", "tags"}, {"nothing"}} {
		got := searchAll(t, s, store.EventQuery{OnlyFields: names, Limit: 4})
		for i := range got {
			want := evs[len(evs)-1-i]
			if names != nil {
				want.Fields = store.AppendSelectedFields(nil, want.Fields, names)
			}
			checkEqual(t, fmt.Sprint("event with ", names), got[i], want)
			for _, f := range got[i].Fields {
				if names != nil && len(f.Value.Text) > store.MaxListedValueBytes {
					t.Errorf("value of %d bytes", len(f.Value.Text))
				}
			}
		}
	}
}

// testSearchEndsWithContext checks that a search ends with its context, also inside an event.
func testSearchEndsWithContext(t *testing.T, s store.Store) {
	value := strings.Repeat("a", store.MaxRegexpInputBytes)
	literal := strings.Repeat("a", 8000) + "b" // so that no index rules the events out
	var evs []picket.Event
	for i := range 20 {
		evs = append(evs, makeEvent(t, i, fmt.Sprintf(`{"a":["%[1]s1","%[1]s2","%[1]s3","%[1]s4"],"n":%[2]d,"other":%[3]q}`, value, i, literal)))
	}
	save(t, s, store.Batch{ID: "b1", Events: evs})
	// Each takes a minute for these events, unless something ends it.
	for name, text := range map[string]string{
		"regexp":  `a~(a?){300}b`,
		"regexps": strings.Repeat(`a~(a?){30}b or `, 40) + "nothing",
		"pattern": `a=*a?` + literal + `*`,
	} {
		where := must[store.Expr](t)(store.ParseQuery(text))
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		_, err := s.SearchEvents(ctx, store.EventQuery{Where: where})
		cancel()
		checkError(t, name, err, context.DeadlineExceeded)
	}
}
