package main

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// migrated counts what was copied and found the same.
type migrated struct {
	Events   int64 `json:"events"`
	Repeated int64 `json:"repeated_events"` // further copies of an event of one id, which are left out
	Matches  int64 `json:"matches"`
	Alerts   int64 `json:"alerts"`
	Hosts    int64 `json:"hosts"`
	Users    int64 `json:"users"`
	Tokens   int64 `json:"tokens"`
}

// verify compares the two stores, record by record.
func (m *migration) verify() (migrated, error) {
	var got migrated
	m.p.Stage = "comparing"
	for _, f := range []func(*migrated) error{m.sameEvents, m.sameMatches, m.sameAlerts, m.sameRest} {
		if err := f(&got); err != nil {
			return got, err
		}
	}
	return got, nil
}

var errDiffer = errors.New("the stores differ")

// A pager reads a list one record after another.
type pager[T any] struct {
	read func(cursor string) ([]T, string, error)
	page []T
	next string
	end  bool
}

// one returns the next record, nil at the end.
func (p *pager[T]) one() (*T, error) {
	for len(p.page) == 0 {
		if p.end {
			return nil, nil
		}
		var err error
		if p.page, p.next, err = p.read(p.next); err != nil {
			return nil, err
		}
		p.end = p.next == ""
	}
	v := &p.page[0]
	p.page = p.page[1:]
	return v, nil
}

func (m *migration) sameEvents(got *migrated) error {
	of := func(s store.Events) *pager[picket.Event] {
		return &pager[picket.Event]{read: func(cursor string) ([]picket.Event, string, error) {
			page, err := s.SearchEvents(m.ctx(), store.EventQuery{Limit: pageSize, Cursor: cursor})
			return page.Events, page.Next, err
		}}
	}
	from, to := of(m.from), of(m.to)
	b, err := to.one()
	for err == nil {
		var a *picket.Event
		if a, err = from.one(); err != nil || a == nil {
			break
		}
		switch {
		case b != nil && a.ID == b.ID:
			if a.AgentID != b.AgentID || a.Host != b.Host || a.Type != b.Type || !a.Time.Equal(b.Time) || !a.Received.Equal(b.Received) ||
				!bytes.Equal(a.Raw, b.Raw) || len(a.Fields) != len(b.Fields) {
				return fmt.Errorf("event %s: %w", a.ID, errDiffer)
			}
			got.Events++
			b, err = to.one()
		default:
			// The embedded store may keep an event that was sent again late a
			// second time.
			if _, err := m.to.Event(m.ctx(), a.ID); err != nil {
				return fmt.Errorf("event %s: %w", a.ID, err)
			}
			got.Repeated++
		}
	}
	if err == nil && b != nil {
		err = fmt.Errorf("event %s is in the copy only: %w", b.ID, errDiffer)
	}
	return err
}

// inStep compares two lists that must be the same.
func inStep[T any](what string, from, to *pager[T], id func(*T) string) (int64, error) {
	for n := int64(0); ; n++ {
		a, err := from.one()
		if err != nil {
			return n, err
		}
		b, err := to.one()
		if err != nil {
			return n, err
		}
		switch {
		case a == nil && b == nil:
			return n, nil
		case a == nil:
			return n, fmt.Errorf("%s %s is in the copy only: %w", what, id(b), errDiffer)
		case b == nil || !reflect.DeepEqual(a, b):
			return n, fmt.Errorf("%s %s: %w", what, id(a), errDiffer)
		}
	}
}

func (m *migration) sameMatches(got *migrated) (err error) {
	of := func(s store.Alerts) *pager[picket.Match] {
		return &pager[picket.Match]{read: func(cursor string) ([]picket.Match, string, error) {
			page, err := s.Matches(m.ctx(), store.MatchQuery{Limit: pageSize, Cursor: cursor})
			for i := range page.Matches {
				if len(page.Matches[i].Why) == 0 {
					page.Matches[i].Why = nil
				}
			}
			return page.Matches, page.Next, err
		}}
	}
	got.Matches, err = inStep("match", of(m.from), of(m.to), func(x *picket.Match) string { return x.ID })
	return err
}

func (m *migration) sameAlerts(got *migrated) (err error) {
	of := func(s store.Alerts) *pager[picket.Alert] {
		return &pager[picket.Alert]{read: func(cursor string) ([]picket.Alert, string, error) {
			page, err := s.Alerts(m.ctx(), store.AlertQuery{Limit: pageSize, Cursor: cursor})
			for i := range page.Alerts {
				if len(page.Alerts[i].Notes) == 0 {
					page.Alerts[i].Notes = nil
				}
			}
			return page.Alerts, page.Next, err
		}}
	}
	got.Alerts, err = inStep("alert", of(m.from), of(m.to), func(x *picket.Alert) string { return x.ID })
	return err
}

func (m *migration) sameRest(got *migrated) (err error) {
	hosts := func(s store.Hosts) *pager[store.Host] {
		return &pager[store.Host]{read: func(cursor string) ([]store.Host, string, error) {
			page, err := s.Hosts(m.ctx(), "", pageSize, cursor)
			return page.Hosts, page.Next, err
		}}
	}
	if got.Hosts, err = inStep("host", hosts(m.from), hosts(m.to), func(x *store.Host) string { return x.Name }); err != nil {
		return err
	}
	users := func(s store.Users) *pager[store.User] {
		return &pager[store.User]{read: func(string) ([]store.User, string, error) {
			all, err := s.Users(m.ctx())
			return all, "", err
		}}
	}
	if got.Users, err = inStep("user", users(m.from), users(m.to), func(x *store.User) string { return x.Name }); err != nil {
		return err
	}
	tokens := func(s store.Tokens) *pager[store.Token] {
		return &pager[store.Token]{read: func(string) ([]store.Token, string, error) {
			all, err := s.Tokens(m.ctx())
			return all, "", err
		}}
	}
	if got.Tokens, err = inStep("token", tokens(m.from), tokens(m.to), func(x *store.Token) string { return x.ID }); err != nil {
		return err
	}
	a, err := m.from.Totals(m.ctx())
	if err != nil {
		return err
	}
	b, err := m.to.Totals(m.ctx())
	if err != nil {
		return err
	}
	a.DiskBytes, b.DiskBytes = 0, 0
	a.Events -= got.Repeated
	if a != b {
		return fmt.Errorf("counters are %+v and %+v: %w", a, b, errDiffer)
	}
	return nil
}
