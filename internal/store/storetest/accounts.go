package storetest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

func hosts(t *testing.T, s store.Store) {
	evs := plain(t, 0, 10)
	evs[9].OS = "" // must not hide what is known
	saved := save(t, s, store.Batch{ID: "b1", Events: evs, Matches: []picket.Match{match("r", evs[0]), match("r2", evs[0])}})[0]
	want := store.Host{Name: "host-0", AgentID: evs[8].AgentID, OS: "linux", FirstSeen: evs[0].Received, LastSeen: evs[8].Received, Events: 5, Alerts: 2}
	same(t, "host", must[store.Host](t)(s.Host(t.Context(), "host-0")), want)

	closed := picket.StatusResolved
	update(t, s, saved.Opened[0].ID, store.AlertUpdate{Status: &closed, At: start})
	save(t, s, store.Batch{ID: "b2", Events: append(plain(t, 10, 11), evs[0])})
	want.Alerts, want.Events, want.LastSeen, want.AgentID = 1, 6, start.Add(70*time.Second), "agent-1"
	same(t, "later", must[store.Host](t)(s.Host(t.Context(), "host-0")), want)

	page := must[store.HostPage](t)(s.Hosts(t.Context(), "HOST-1", 0, ""))
	if len(page.Hosts) != 1 || page.Hosts[0].Name != "host-1" || page.Hosts[0].OS != "linux" {
		t.Errorf("by name: %+v", page)
	}
	total, online, err := s.CountHosts(t.Context(), start.Add(70*time.Second))
	if total != 2 || online != 1 || err != nil {
		t.Errorf("%d hosts, %d online, %v; want 2 and 1", total, online, err)
	}
	_, err = s.Host(t.Context(), "nothing")
	wantErr(t, "an unknown host", err, picket.ErrNotFound)
}

func hostPaging(t *testing.T, s store.Store) {
	evs := plain(t, 0, 25)
	var want []string
	for i := range evs {
		evs[i].Host = fmt.Sprintf("m%02d", i)
		evs[i].Received = start // all at once: the order must still be one
	}
	save(t, s, store.Batch{ID: "b1", Events: evs})
	seen := make(map[string]bool)
	for cursor := ""; ; {
		page := must[store.HostPage](t)(s.Hosts(t.Context(), "", 4, cursor))
		for _, h := range page.Hosts {
			if seen[h.Name] {
				t.Errorf("host %s is on two pages", h.Name)
			}
			seen[h.Name] = true
			want = append(want, h.Name)
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if len(want) != 25 {
		t.Errorf("%d hosts, want 25", len(want))
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func tokens(t *testing.T, s store.Store) {
	ctx := t.Context()
	a := store.Token{ID: "t1", Hash: "hash1", Kind: "agent", Subject: "agent-1", Created: start}
	b := store.Token{ID: "t2", Hash: "hash2", Kind: "api", Subject: "ci", Role: "viewer", Created: start.Add(time.Second)}
	check(t, s.AddToken(ctx, a))
	check(t, s.AddToken(ctx, b))
	wantErr(t, "to add an id again", s.AddToken(ctx, store.Token{ID: "t1", Hash: "other"}), picket.ErrConflict)
	same(t, "by hash", must[store.Token](t)(s.TokenByHash(ctx, "hash2")), b)
	_, err := s.TokenByHash(ctx, "nothing")
	wantErr(t, "an unknown hash", err, picket.ErrNotFound)
	check(t, s.RevokeToken(ctx, "t1", start.Add(time.Hour)))
	a.Revoked = start.Add(time.Hour)
	same(t, "revoked", must[store.Token](t)(s.TokenByHash(ctx, "hash1")), a)
	wantErr(t, "to revoke an unknown id", s.RevokeToken(ctx, "nothing", start), picket.ErrNotFound)
	same(t, "tokens", must[[]store.Token](t)(s.Tokens(ctx)), []store.Token{a, b})
}

func users(t *testing.T, s store.Store) {
	ctx := t.Context()
	u := store.User{Name: "ann", PasswordHash: "h", Role: "admin", Created: start}
	check(t, s.PutUser(ctx, u))
	check(t, s.PutUser(ctx, store.User{Name: "bob", PasswordHash: "h", Role: "viewer", Created: start}))
	same(t, "user", must[store.User](t)(s.User(ctx, "ann")), u)
	u.Disabled, u.PasswordHash = true, "h2"
	check(t, s.PutUser(ctx, u))
	same(t, "replaced", must[store.User](t)(s.User(ctx, "ann")), u)
	if all := must[[]store.User](t)(s.Users(ctx)); len(all) != 2 {
		t.Errorf("%d users, want 2", len(all))
	}
	_, err := s.User(ctx, "nobody")
	wantErr(t, "an unknown user", err, picket.ErrNotFound)
	wantErr(t, "to add a name again", s.AddUser(ctx, store.User{Name: "ann", PasswordHash: "h3", Created: start}), picket.ErrConflict)
	same(t, "after that", must[store.User](t)(s.User(ctx, "ann")), u)
}

// addUser: of many who add the same user at once one does, and the others
// change nothing.
func addUser(t *testing.T, s store.Store) {
	const many = 16
	errs := make([]error, many)
	var work sync.WaitGroup
	for i := range many {
		work.Go(func() {
			errs[i] = s.AddUser(t.Context(), store.User{Name: "admin", PasswordHash: fmt.Sprint("h", i), Role: "admin", Created: start})
		})
	}
	work.Wait()
	added := -1
	for i, err := range errs {
		switch {
		case err != nil:
			wantErr(t, "to add what is there", err, picket.ErrConflict)
		case added >= 0:
			t.Errorf("both %d and %d added the user", added, i)
		default:
			added = i
		}
	}
	same(t, "user", must[store.User](t)(s.User(t.Context(), "admin")),
		store.User{Name: "admin", PasswordHash: fmt.Sprint("h", added), Role: "admin", Created: start})
}

func sessions(t *testing.T, s store.Store) {
	ctx := t.Context()
	a := store.Session{Hash: "s1", User: "ann", Created: start, Expires: start.Add(time.Hour)}
	b := store.Session{Hash: "s2", User: "ann", Created: start, Expires: start.Add(2 * time.Hour)}
	c := store.Session{Hash: "s3", User: "bob", Created: start, Expires: start.Add(2 * time.Hour)}
	for _, x := range []store.Session{a, b, c} {
		check(t, s.AddSession(ctx, x))
	}
	same(t, "session", must[store.Session](t)(s.Session(ctx, "s1", start)), a)
	gone := func(hash string, now time.Time) {
		t.Helper()
		_, err := s.Session(ctx, hash, now)
		wantErr(t, "session "+hash, err, picket.ErrNotFound)
	}
	gone("s1", start.Add(time.Hour))
	gone("nothing", start)
	check(t, s.DeleteSession(ctx, "s1"))
	gone("s1", start)
	check(t, s.DeleteSession(ctx, "nothing"))
	check(t, s.DeleteUserSessions(ctx, "ann"))
	gone("s2", start)
	same(t, "of another", must[store.Session](t)(s.Session(ctx, "s3", start)), c)
}

func audit(t *testing.T, s store.Store) {
	ctx := t.Context()
	var want []store.AuditEntry
	for i := range 5 {
		e := store.AuditEntry{Time: start.Add(time.Duration(i) * time.Second), Actor: "ann", Action: "alert.update", Object: fmt.Sprint(i), Detail: "x"}
		check(t, s.AddAuditEntry(ctx, e))
		want = append([]store.AuditEntry{e}, want...)
	}
	same(t, "log", must[[]store.AuditEntry](t)(s.AuditLog(ctx, 3)), want[:3])
	same(t, "whole log", must[[]store.AuditEntry](t)(s.AuditLog(ctx, 0)), want)
}

// A batch may be of as many hosts as it has events, and several such come at
// once.
func manyHosts(t *testing.T, s store.Store) {
	const hosts, batches = 250, 4
	var work sync.WaitGroup
	for b := range batches {
		work.Go(func() {
			evs := plain(t, b*hosts, (b+1)*hosts)
			for i := range evs {
				evs[i].Host = fmt.Sprintf("m%03d", i)
			}
			if _, err := s.Save(t.Context(), store.Batch{ID: fmt.Sprint("b", b), Events: evs}); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	total, _, err := s.CountHosts(t.Context(), start)
	if total != hosts || err != nil {
		t.Errorf("%d hosts, %v; want %d", total, err, hosts)
	}
	h := must[store.Host](t)(s.Host(t.Context(), "m007"))
	if h.Events != batches {
		t.Errorf("a host has %d events, want %d", h.Events, batches)
	}
}
