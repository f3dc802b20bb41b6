package storetest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/testenv"
)

func testTokens(t *testing.T, s store.Store) {
	ctx := t.Context()
	a := store.Token{ID: "t1", Hash: "hash1", Kind: "agent", Subject: "agent-1", Created: startTime}
	b := store.Token{ID: "t2", Hash: "hash2", Kind: "api", Subject: "ci", Role: "viewer", Created: startTime.Add(time.Second)}
	testenv.Check(t, s.AddToken(ctx, a))
	testenv.Check(t, s.AddToken(ctx, b))
	checkError(t, "adding an existing id", s.AddToken(ctx, store.Token{ID: "t1", Hash: "other"}), picket.ErrConflict)
	checkEqual(t, "by hash", must[store.Token](t)(s.TokenByHash(ctx, "hash2")), b)
	_, err := s.TokenByHash(ctx, "nothing")
	checkError(t, "an unknown hash", err, picket.ErrNotFound)
	testenv.Check(t, s.RevokeToken(ctx, "t1", startTime.Add(time.Hour)))
	a.Revoked = startTime.Add(time.Hour)
	checkEqual(t, "revoked", must[store.Token](t)(s.TokenByHash(ctx, "hash1")), a)
	checkError(t, "revoking an unknown id", s.RevokeToken(ctx, "nothing", startTime), picket.ErrNotFound)
	checkEqual(t, "tokens", must[[]store.Token](t)(s.Tokens(ctx)), []store.Token{a, b})

	c := store.Token{ID: "t3", Hash: "hash3", Kind: "agent", Subject: "agent-3", Created: startTime}
	testenv.Check(t, s.AddToken(ctx, c))
	var bound [4]string
	var work sync.WaitGroup
	for i := range bound {
		work.Go(func() { bound[i], _ = s.BindToken(ctx, "t3", fmt.Sprint("host-", i)) })
	}
	work.Wait()
	c.Host = bound[0]
	checkEqual(t, "one of several bindings", bound, [4]string{c.Host, c.Host, c.Host, c.Host})
	checkEqual(t, "a bound token", must[store.Token](t)(s.TokenByHash(ctx, "hash3")), c)
	for _, host := range []string{"other", store.TokenAnyHost} {
		testenv.Check(t, s.SetTokenHost(ctx, "t3", host))
		checkEqual(t, "bound again", must[string](t)(s.BindToken(ctx, "t3", "late")), host)
	}
	testenv.Check(t, s.SetTokenHost(ctx, "t3", ""))
	checkEqual(t, "bound at the next use", must[string](t)(s.BindToken(ctx, "t3", "late")), "late")
	checkError(t, "the host of an unknown token", s.SetTokenHost(ctx, "nothing", "x"), picket.ErrNotFound)
	_, err = s.BindToken(ctx, "nothing", "x")
	checkError(t, "binding an unknown token", err, picket.ErrNotFound)
}

func testUsers(t *testing.T, s store.Store) {
	ctx := t.Context()
	u := store.User{Name: "ann", PasswordHash: "h", Role: "admin", Created: startTime}
	testenv.Check(t, s.PutUser(ctx, u))
	testenv.Check(t, s.PutUser(ctx, store.User{Name: "bob", PasswordHash: "h", Role: "viewer", Created: startTime}))
	checkEqual(t, "user", must[store.User](t)(s.User(ctx, "ann")), u)
	u.Disabled, u.PasswordHash = true, "h2"
	testenv.Check(t, s.PutUser(ctx, u))
	checkEqual(t, "replaced", must[store.User](t)(s.User(ctx, "ann")), u)
	if all := must[[]store.User](t)(s.Users(ctx)); len(all) != 2 {
		t.Errorf("%d users, want 2", len(all))
	}
	_, err := s.User(ctx, "nobody")
	checkError(t, "an unknown user", err, picket.ErrNotFound)
	checkError(t, "adding an existing name", s.AddUser(ctx, store.User{Name: "ann", PasswordHash: "h3", Created: startTime}), picket.ErrConflict)
	checkEqual(t, "user after that", must[store.User](t)(s.User(ctx, "ann")), u)
	testenv.Check(t, s.DeleteUser(ctx, "ann"))
	_, err = s.User(ctx, "ann")
	checkError(t, "a deleted user", err, picket.ErrNotFound)
	checkError(t, "deleting it again", s.DeleteUser(ctx, "ann"), picket.ErrNotFound)
}

// testConcurrentAddUser adds the same user many times concurrently. One call
// succeeds, and the others change nothing.
func testConcurrentAddUser(t *testing.T, s store.Store) {
	const many = 16
	errs := make([]error, many)
	var work sync.WaitGroup
	for i := range many {
		work.Go(func() {
			errs[i] = s.AddUser(t.Context(), store.User{Name: "admin", PasswordHash: fmt.Sprint("h", i), Role: "admin", Created: startTime})
		})
	}
	work.Wait()
	added := -1
	for i, err := range errs {
		switch {
		case err != nil:
			checkError(t, "adding an existing user", err, picket.ErrConflict)
		case added >= 0:
			t.Errorf("both %d and %d added the user", added, i)
		default:
			added = i
		}
	}
	checkEqual(t, "user", must[store.User](t)(s.User(t.Context(), "admin")),
		store.User{Name: "admin", PasswordHash: fmt.Sprint("h", added), Role: "admin", Created: startTime})
}

func testSessions(t *testing.T, s store.Store) {
	ctx := t.Context()
	a := store.Session{Hash: "s1", User: "ann", Created: startTime, Expires: startTime.Add(time.Hour)}
	b := store.Session{Hash: "s2", User: "ann", Created: startTime, Expires: startTime.Add(2 * time.Hour)}
	c := store.Session{Hash: "s3", User: "bob", Created: startTime, Expires: startTime.Add(2 * time.Hour)}
	for _, x := range []store.Session{a, b, c} {
		testenv.Check(t, s.AddSession(ctx, x))
	}
	checkEqual(t, "session", must[store.Session](t)(s.Session(ctx, "s1", startTime)), a)
	checkNoSession := func(hash string, now time.Time) {
		t.Helper()
		_, err := s.Session(ctx, hash, now)
		checkError(t, "session "+hash, err, picket.ErrNotFound)
	}
	checkNoSession("s1", startTime.Add(time.Hour))
	testenv.Check(t, s.ExtendSession(ctx, "s1", startTime.Add(3*time.Hour)))
	a.Expires = startTime.Add(3 * time.Hour)
	checkEqual(t, "extended session", must[store.Session](t)(s.Session(ctx, "s1", startTime.Add(2*time.Hour))), a)
	testenv.Check(t, s.ExtendSession(ctx, "nothing", startTime.Add(3*time.Hour)))
	checkEqual(t, "sessions of ann", must[[]store.Session](t)(s.UserSessions(ctx, "ann", startTime)), []store.Session{a, b})
	checkEqual(t, "later", must[[]store.Session](t)(s.UserSessions(ctx, "ann", startTime.Add(2*time.Hour))), []store.Session{a})
	checkEqual(t, "sessions of nobody", must[[]store.Session](t)(s.UserSessions(ctx, "nobody", startTime)), []store.Session(nil))
	checkNoSession("nothing", startTime)
	testenv.Check(t, s.DeleteSession(ctx, "s1"))
	checkNoSession("s1", startTime)
	testenv.Check(t, s.DeleteSession(ctx, "nothing"))
	testenv.Check(t, s.DeleteUserSessions(ctx, "ann"))
	checkNoSession("s2", startTime)
	checkEqual(t, "session of another user", must[store.Session](t)(s.Session(ctx, "s3", startTime)), c)
}

func testAuditLog(t *testing.T, s store.Store) {
	ctx := t.Context()
	var want []store.AuditEntry
	previous := ""
	for i := range 5 {
		e := store.AuditEntry{Time: startTime.Add(time.Duration(i) * time.Second), Actor: []string{"ann", "bob"}[i%2], Action: "alert.update", Object: fmt.Sprint(i), Detail: "x"}
		stored := must[store.AuditEntry](t)(s.AddAuditEntry(ctx, e))
		if stored.Previous != previous || stored.Hash != stored.ChainHash() || len(stored.Hash) != 64 {
			t.Errorf("entry %d: %+v", i, stored)
		}
		previous = stored.Hash
		e.N, e.Previous, e.Hash = stored.N, stored.Previous, stored.Hash
		want = append([]store.AuditEntry{e}, want...)
	}
	list := func(q store.AuditQuery) []store.AuditEntry {
		return must[[]store.AuditEntry](t)(s.AuditEntries(ctx, q))
	}
	checkEqual(t, "page", list(store.AuditQuery{Limit: 3}), want[:3])
	checkEqual(t, "next page", list(store.AuditQuery{Limit: 3, Before: want[2].N}), want[3:])
	checkEqual(t, "whole log", list(store.AuditQuery{}), want)
	checkEqual(t, "by actor", list(store.AuditQuery{Actor: "bob"}), []store.AuditEntry{want[1], want[3]})
	checkEqual(t, "by action", list(store.AuditQuery{Action: "sign-in"}), []store.AuditEntry(nil))
	checkEqual(t, "nothing to prune", must[int64](t)(s.PruneAudit(ctx, startTime, 5)), int64(0))
	checkEqual(t, "pruned by age", must[int64](t)(s.PruneAudit(ctx, startTime.Add(time.Second), 5)), int64(1))
	checkEqual(t, "pruned by number", must[int64](t)(s.PruneAudit(ctx, startTime, 2)), int64(2))
	checkEqual(t, "what is left", list(store.AuditQuery{}), want[:2])
	checkEqual(t, "all pruned", must[int64](t)(s.PruneAudit(ctx, startTime.Add(time.Hour), 2)), int64(2))
	checkEqual(t, "nothing is left", list(store.AuditQuery{}), []store.AuditEntry(nil))
}

// testConcurrentAudit appends entries concurrently. They form one chain.
func testConcurrentAudit(t *testing.T, s store.Store) {
	const many = 24
	var work sync.WaitGroup
	for i := range many {
		work.Go(func() {
			_, err := s.AddAuditEntry(t.Context(), store.AuditEntry{Time: startTime, Actor: "ann", Action: "sign-in", Object: fmt.Sprint(i)})
			testenv.Check(t, err)
		})
	}
	work.Wait()
	entries := must[[]store.AuditEntry](t)(s.AuditEntries(t.Context(), store.AuditQuery{}))
	if len(entries) != many {
		t.Fatalf("%d entries", len(entries))
	}
	for i, e := range entries {
		previous := ""
		if i+1 < many {
			previous = entries[i+1].Hash
		}
		if e.Previous != previous || e.Hash != e.ChainHash() {
			t.Errorf("entry %d is not chained to the one before", many-i)
		}
	}
}
