package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// VerifiedCounts are the numbers of records that were copied and compared equal.
type VerifiedCounts struct {
	Events   int64 `json:"events"`
	Repeated int64 `json:"repeated_events"` // second copies of an event, which are not copied
	Matches  int64 `json:"matches"`
	Alerts   int64 `json:"alerts"`
	Hosts    int64 `json:"hosts"`
	Users    int64 `json:"users"`
	Tokens   int64 `json:"tokens"`
}

// verify compares the two stores, record by record.
func (m *Migration) verify() (VerifiedCounts, error) {
	var got VerifiedCounts
	m.progress.Stage = "comparing"
	for _, f := range []func(*VerifiedCounts) error{m.compareEvents, m.compareMatches, m.compareAlerts, m.compareHostsAndAccounts} {
		if err := f(&got); err != nil {
			return got, err
		}
	}
	return got, nil
}

var errStoresDiffer = errors.New("the stores differ")

// A pager reads a list one record after another.
type pager[T any] struct {
	read func(cursor string) ([]T, string, error)
	page []T
	next string
	end  bool
}

// nextRecord returns the next record, nil at the end.
func (p *pager[T]) nextRecord() (*T, error) {
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

func (m *Migration) compareEvents(got *VerifiedCounts) error {
	of := func(s store.Events) *pager[picket.Event] {
		return &pager[picket.Event]{read: func(cursor string) ([]picket.Event, string, error) {
			page, err := s.SearchEvents(m.ctx, store.EventQuery{Limit: pageRecords, Cursor: cursor})
			return page.Events, page.Next, err
		}}
	}
	from, to := of(m.From), of(m.To)
	b, err := to.nextRecord()
	for err == nil {
		var a *picket.Event
		if a, err = from.nextRecord(); err != nil || a == nil {
			break
		}
		switch {
		case b != nil && a.Key() == b.Key():
			if a.AgentID != b.AgentID || a.Sender != b.Sender || a.Index != b.Index || a.Host != b.Host || a.Type != b.Type || !a.Time.Equal(b.Time) || !a.Received.Equal(b.Received) ||
				!bytes.Equal(a.Raw, b.Raw) || len(a.Fields) != len(b.Fields) {
				return fmt.Errorf("event %s: %w", a.ID, errStoresDiffer)
			}
			got.Events++
			b, err = to.nextRecord()
		default:
			// The SQLite store may hold a second copy of an event that was sent
			// again much later.
			if _, err := m.To.Event(m.ctx, store.RefOf(a)); err != nil {
				return fmt.Errorf("event %s: %w", a.ID, err)
			}
			got.Repeated++
		}
	}
	if err == nil && b != nil {
		err = fmt.Errorf("event %s is in the copy only: %w", b.ID, errStoresDiffer)
	}
	return err
}

// compareLists compares two lists that must be equal, and returns how many records are.
func compareLists[T any](what string, from, to *pager[T], id func(*T) string) (equal int64, err error) {
	for n := int64(0); ; n++ {
		a, err := from.nextRecord()
		if err != nil {
			return n, err
		}
		b, err := to.nextRecord()
		if err != nil {
			return n, err
		}
		switch {
		case a == nil && b == nil:
			return n, nil
		case a == nil:
			return n, fmt.Errorf("%s %s is in the copy only: %w", what, id(b), errStoresDiffer)
		case b == nil || !reflect.DeepEqual(a, b):
			return n, fmt.Errorf("%s %s: %w", what, id(a), errStoresDiffer)
		}
	}
}

func (m *Migration) compareMatches(got *VerifiedCounts) (err error) {
	of := func(s store.Alerts) *pager[picket.Match] {
		return &pager[picket.Match]{read: func(cursor string) ([]picket.Match, string, error) {
			page, err := s.Matches(m.ctx, store.MatchQuery{Limit: pageRecords, Cursor: cursor})
			for i := range page.Matches {
				if len(page.Matches[i].Why) == 0 {
					page.Matches[i].Why = nil
				}
			}
			return page.Matches, page.Next, err
		}}
	}
	got.Matches, err = compareLists("match", of(m.From), of(m.To), func(x *picket.Match) string { return x.ID })
	return err
}

func (m *Migration) compareAlerts(got *VerifiedCounts) (err error) {
	of := func(s store.Alerts) *pager[picket.Alert] {
		return &pager[picket.Alert]{read: func(cursor string) ([]picket.Alert, string, error) {
			page, err := s.Alerts(m.ctx, store.AlertQuery{Limit: pageRecords, Cursor: cursor})
			for i := range page.Alerts {
				if len(page.Alerts[i].Notes) == 0 {
					page.Alerts[i].Notes = nil
				}
			}
			return page.Alerts, page.Next, err
		}}
	}
	got.Alerts, err = compareLists("alert", of(m.From), of(m.To), func(x *picket.Alert) string { return x.ID })
	return err
}

func (m *Migration) compareHostsAndAccounts(got *VerifiedCounts) (err error) {
	hosts := func(s store.Hosts) *pager[store.Host] {
		return &pager[store.Host]{read: func(cursor string) ([]store.Host, string, error) {
			page, err := s.Hosts(m.ctx, "", pageRecords, cursor)
			return page.Hosts, page.Next, err
		}}
	}
	if got.Hosts, err = compareLists("host", hosts(m.From), hosts(m.To), func(x *store.Host) string { return x.Name + " of " + x.AgentID }); err != nil {
		return err
	}
	users := func(s store.Users) *pager[store.User] {
		return &pager[store.User]{read: func(string) ([]store.User, string, error) {
			all, err := s.Users(m.ctx)
			return all, "", err
		}}
	}
	if got.Users, err = compareLists("user", users(m.From), users(m.To), func(x *store.User) string { return x.Name }); err != nil {
		return err
	}
	tokens := func(s store.Tokens) *pager[store.Token] {
		return &pager[store.Token]{read: func(string) ([]store.Token, string, error) {
			all, err := s.Tokens(m.ctx)
			return all, "", err
		}}
	}
	if got.Tokens, err = compareLists("token", tokens(m.From), tokens(m.To), func(x *store.Token) string { return x.ID }); err != nil {
		return err
	}
	a, err := m.From.Totals(m.ctx)
	if err != nil {
		return err
	}
	b, err := m.To.Totals(m.ctx)
	if err != nil {
		return err
	}
	a.DiskBytes, b.DiskBytes = 0, 0
	a.DamagedBlocks, a.DamagedEvents = 0, 0
	a.Events -= got.Repeated
	if a != b {
		return fmt.Errorf("counters are %+v and %+v: %w", a, b, errStoresDiffer)
	}
	return nil
}
