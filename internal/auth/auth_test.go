package auth_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore"
	"github.com/picket-edr/picket/internal/testenv"
)

// A testClock stands still until a test moves it.
type testClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func open(t *testing.T) (*sqlitestore.Store, *testClock) {
	t.Helper()
	s, err := sqlitestore.Open(filepath.Join(t.TempDir(), "store.db"), sqlitestore.Options{})
	testenv.Check(t, err)
	t.Cleanup(func() { testenv.Check(t, s.Close()) })
	return s, &testClock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
}

func TestNewToken(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		kind, subject, role string
		ok                  bool
	}{
		{auth.KindAgent, "PC1", "", true}, {auth.KindCollector, "c", "", true}, {auth.KindAPI, "a", auth.RoleViewer, true},
		{auth.KindAPI, "a", "", false}, {auth.KindAPI, "a", "root", false}, {"other", "a", "", false},
		{auth.KindAPI, "ana-2@corp.example", auth.RoleViewer, true}, {auth.KindCollector, "Müller_1", "", true}, {auth.KindAgent, "aa:bb/7", "", true},
		{auth.KindAPI, "a b", auth.RoleViewer, false}, {auth.KindAPI, "user:a", auth.RoleViewer, false}, {auth.KindCollector, "<i>", "", false}, {auth.KindCollector, "-", "", false},
		{auth.KindCollector, "", "", false}, {auth.KindCollector, strings.Repeat("x", 129), "", false}, {auth.KindAgent, "bad name", "", false}, {auth.KindAgent, "a\x1fb", "", false},
		{auth.KindAgent, "", "", false}, {auth.KindAgent, strings.Repeat("x", 257), "", false},
	} {
		tok, secret, err := auth.NewToken(c.kind, c.subject, c.role, now)
		if c.ok != (err == nil) || err != nil && !errors.Is(err, picket.ErrInvalid) {
			t.Errorf("%+v: %v", c, err)
		}
		if c.ok && (len(secret) != 40 || strings.Contains(tok.Hash, secret) || tok.ID == "") {
			t.Errorf("%+v: secret %q, token %+v", c, secret, tok)
		}
	}
}

// A token is identified by its secret alone. Changes take effect within a second.
func TestTokens(t *testing.T) {
	s, clk := open(t)
	ctx := t.Context()
	tokens := auth.NewTokenVerifier(s, clk.Now)
	tok, secret, err := auth.NewToken(auth.KindAPI, "reader", auth.RoleAnalyst, clk.Now())
	testenv.Check(t, err)
	if _, err := tokens.Authenticate(ctx, secret); !errors.Is(err, auth.ErrUnauthenticated) {
		t.Error("known before it is stored", err)
	}
	testenv.Check(t, s.AddToken(ctx, tok))
	id, err := tokens.Authenticate(ctx, secret)
	testenv.Check(t, err)
	if id != (auth.Identity{Kind: auth.KindAPI, Subject: "reader", Role: auth.RoleAnalyst}) || id.String() != "api:reader" {
		t.Errorf("%+v", id)
	}
	for _, invalid := range []string{"", secret[:39], secret + "0", tok.Hash, tok.ID, strings.Repeat("x", 1000)} {
		if _, err := tokens.Authenticate(ctx, invalid); !errors.Is(err, auth.ErrUnauthenticated) {
			t.Errorf("%q: %v", invalid, err)
		}
	}
	testenv.Check(t, s.RevokeToken(ctx, tok.ID, clk.Now()))
	clk.Add(time.Second)
	for range 2 {
		if _, err := tokens.Authenticate(ctx, secret); !errors.Is(err, auth.ErrUnauthenticated) {
			t.Error("still known a second after it was revoked", err)
		}
	}
}

// A hangingStore is a store whose lookups hang while hanging is set.
type hangingStore struct {
	store.Store
	hanging atomic.Bool
}

func (f *hangingStore) TokenByHash(ctx context.Context, hash string) (store.Token, error) {
	if f.hanging.Load() {
		<-ctx.Done()
		return store.Token{}, ctx.Err()
	}
	return f.Store.TokenByHash(ctx, hash)
}

// While the store is unreachable, recently used tokens stay valid for a quarter of an
// hour and are checked almost without delay, which is counted and logged once a minute;
// other tokens get ErrUnavailable. A token that was revoked then ends with the store's
// first answer.
func TestStoreUnreachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := sqlitestore.Open(filepath.Join(t.TempDir(), "store.db"), sqlitestore.Options{NoBackground: true})
		testenv.Check(t, err)
		defer s.Close()
		ctx := t.Context()
		unreachable := &hangingStore{Store: s}
		tokens := auth.NewTokenVerifier(unreachable, time.Now)
		var log testenv.Buffer
		tokens.Log = slog.New(slog.NewTextHandler(&log, nil))
		tok, secret, err := auth.NewToken(auth.KindCollector, "known", "", time.Now())
		testenv.Check(t, err)
		testenv.Check(t, s.AddToken(ctx, tok))
		other, unknown, err := auth.NewToken(auth.KindCollector, "unknown", "", time.Now())
		testenv.Check(t, err)
		testenv.Check(t, s.AddToken(ctx, other))
		if _, err := tokens.Authenticate(ctx, secret); err != nil {
			t.Fatal(err)
		}
		unreachable.hanging.Store(true)
		if n := tokens.Unconfirmed(); n != 0 {
			t.Errorf("%d requests accepted without the store", n)
		}
		begin, waited, checks := time.Now(), time.Duration(0), int64(0)
		for ; time.Since(begin) < 14*time.Minute; checks++ {
			asked := time.Now()
			if id, err := tokens.Authenticate(ctx, secret); err != nil || id.Subject != "known" {
				t.Fatalf("after %s: %v", time.Since(begin), err)
			}
			waited += time.Since(asked)
			time.Sleep(100 * time.Millisecond)
		}
		if waited > 3*time.Minute {
			t.Errorf("successive requests waited %s within 14 minutes", waited)
		}
		// The cache is fresh for a second, 10 requests.
		if n, lines := tokens.Unconfirmed(), strings.Count(log.String(), "tokens are accepted without the store"); n < checks-10 || n > checks || lines < 13 || lines > 15 {
			t.Errorf("%d of %d requests counted, %d lines logged", n, checks, lines)
		}
		testenv.Check(t, s.RevokeToken(ctx, tok.ID, time.Now()))
		begin = time.Now()
		if _, err := tokens.Authenticate(ctx, unknown); !errors.Is(err, picket.ErrUnavailable) || time.Since(begin) > 5*time.Second {
			t.Errorf("an unknown token gets %v after %s", err, time.Since(begin))
		}
		time.Sleep(2 * time.Minute)
		if _, err := tokens.Authenticate(ctx, secret); !errors.Is(err, picket.ErrUnavailable) {
			t.Errorf("after 16 minutes: %v", err)
		}
		unreachable.hanging.Store(false)
		if _, err := tokens.Authenticate(ctx, secret); !errors.Is(err, auth.ErrUnauthenticated) {
			t.Errorf("a revoked token: %v", err)
		}
		if _, err := tokens.Authenticate(ctx, unknown); err != nil {
			t.Error(err)
		}
	})
}

func TestRoles(t *testing.T) {
	order := []string{auth.RoleViewer, auth.RoleAnalyst, auth.RoleAdmin}
	for i, have := range order {
		for j, need := range order {
			if (auth.Identity{Role: have}).HasRole(need) != (i >= j) {
				t.Errorf("%s may do what needs %s: %v", have, need, i < j)
			}
		}
	}
	for _, none := range []string{"", "root"} {
		if (auth.Identity{Role: none}).HasRole(auth.RoleViewer) || auth.ValidRole(none) {
			t.Errorf("role %q may do something", none)
		}
	}
}

func TestSecret(t *testing.T) {
	const token = "7d0e317d743ffbcaef6684c49a76625aeeeed86a"
	const colon = "0006317d743ffbcaef6684c49a76625aeeeed86a" // which, read as base64, has one
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for header, want := range map[string]string{
		"": "", "Token " + token: token, "token  " + token + " ": token, "Bearer " + token: token, "BEARER " + token: token,
		"Basic " + b64("elastic:"+token): token, "Basic " + b64("u:a:b"): "a:b", "ApiKey " + b64("id:"+token): token,
		"ApiKey " + token: token, "ApiKey " + colon: colon, "Basic " + token: token, "ApiKey not/base64!": "not/base64!",
		"Digest x": "", "Token": "", "Token ": "", token: "",
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", header)
		if got := auth.TokenSecret(r); got != want {
			t.Errorf("%q: %q, want %q", header, got, want)
		}
	}
	r := httptest.NewRequest("GET", "/", nil)
	if auth.SessionSecret(r) != "" {
		t.Error("a cookie out of nothing")
	}
	r.Header.Set("Cookie", auth.SessionCookieName+"=abc")
	if auth.SessionSecret(r) != "abc" {
		t.Error("the cookie is not found")
	}
}

const password = "correct horse battery"

func addUser(t *testing.T, s *sqlitestore.Store, name string, change func(*store.User)) {
	t.Helper()
	hash, err := auth.HashPassword(password)
	testenv.Check(t, err)
	u := store.User{Name: name, PasswordHash: hash, Role: auth.RoleAnalyst, Created: time.Now().UTC()}
	if change != nil {
		change(&u)
	}
	testenv.Check(t, s.PutUser(t.Context(), u))
}

func TestPasswords(t *testing.T) {
	for _, invalid := range []string{"", "short", strings.Repeat("x", 1025)} {
		if _, err := auth.HashPassword(invalid); !errors.Is(err, picket.ErrInvalid) {
			t.Errorf("%d bytes: %v", len(invalid), err)
		}
	}
	one, err := auth.HashPassword(password)
	testenv.Check(t, err)
	two, err := auth.HashPassword(password)
	testenv.Check(t, err)
	if one == two || !strings.HasPrefix(one, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("%s, %s", one, two)
	}
}

func TestSessions(t *testing.T) {
	s, clk := open(t)
	ctx := t.Context()
	addUser(t, s, "ann", nil)
	addUser(t, s, "odd", func(u *store.User) { u.PasswordHash = "$argon2id$v=19$m=0,t=0,p=0$$" })
	sessions := auth.NewSessions(s, clk.Now)
	secret, err := sessions.SignIn(ctx, "ann", password, "1.1.1.1")
	testenv.Check(t, err)
	id, err := sessions.Check(ctx, secret, "1.1.1.1")
	testenv.Check(t, err)
	if id != (auth.Identity{Kind: "user", Subject: "ann", Role: auth.RoleAnalyst}) {
		t.Errorf("%+v", id)
	}
	for _, invalid := range []string{"", "x", secret[1:]} {
		if _, err := sessions.Check(ctx, invalid, "1.1.1.1"); !errors.Is(err, auth.ErrUnauthenticated) {
			t.Errorf("%q: %v", invalid, err)
		}
	}
	for _, c := range [][2]string{{"ann", "wrong"}, {"nobody", password}, {"odd", ""}, {strings.Repeat("x", 1000), password}, {"ann", strings.Repeat("x", 2000)}} {
		if _, err := sessions.SignIn(ctx, c[0], c[1], "1.1.1.2"); !errors.Is(err, auth.ErrUnauthenticated) {
			t.Errorf("%.20q: %v", c, err)
		}
	}

	// The role is the user's of now; who is disabled is out at once.
	addUser(t, s, "ann", func(u *store.User) { u.Role = auth.RoleViewer })
	if id, err := sessions.Check(ctx, secret, "1.1.1.1"); err != nil || id.Role != auth.RoleViewer {
		t.Error(id, err)
	}
	addUser(t, s, "ann", func(u *store.User) { u.Disabled = true })
	if _, err := sessions.Check(ctx, secret, "1.1.1.1"); !errors.Is(err, auth.ErrUnauthenticated) {
		t.Error("a disabled user is in", err)
	}
	if _, err := sessions.SignIn(ctx, "ann", password, "1.1.1.3"); !errors.Is(err, auth.ErrUnauthenticated) {
		t.Error("a disabled user signs in", err)
	}
	addUser(t, s, "ann", nil)
	if _, err := sessions.Check(ctx, secret, "1.1.1.1"); err != nil {
		t.Error(err)
	}
	for range auth.SessionLifetime/auth.SessionIdleTimeout*2 - 1 { // used now and then
		clk.Add(auth.SessionIdleTimeout / 2)
		_, err := sessions.Check(ctx, secret, "1.1.1.1")
		testenv.Check(t, err)
	}
	clk.Add(auth.SessionIdleTimeout / 2)
	if _, err := sessions.Check(ctx, secret, "1.1.1.1"); !errors.Is(err, auth.ErrUnauthenticated) {
		t.Error("a session outlives its time", err)
	}
	secret, err = sessions.SignIn(ctx, "ann", password, "1.1.1.1")
	testenv.Check(t, err)
	idle, err := sessions.SignIn(ctx, "ann", password, "1.1.1.1")
	testenv.Check(t, err)
	testenv.Check(t, sessions.SignOut(ctx, secret))
	if _, err := sessions.Check(ctx, secret, "1.1.1.1"); !errors.Is(err, auth.ErrUnauthenticated) {
		t.Error("a session outlives the sign-out", err)
	}
	clk.Add(auth.SessionIdleTimeout)
	if _, err := sessions.Check(ctx, idle, "1.1.1.1"); !errors.Is(err, auth.ErrUnauthenticated) {
		t.Error("an idle session lasts", err)
	}
}

func TestSignInLimits(t *testing.T) {
	s, clk := open(t)
	addUser(t, s, "ann", nil)
	sessions := auth.NewSessions(s, clk.Now)
	try := func(name, password, addr string) error {
		_, err := sessions.SignIn(context.Background(), name, password, addr)
		return err
	}
	// What succeeds does not count.
	for range 10 {
		testenv.Check(t, try("ann", password, "1.1.1.1"))
	}
	for range 5 {
		if err := try("ann", "wrong", "1.1.1.1"); !errors.Is(err, auth.ErrUnauthenticated) {
			t.Fatal(err)
		}
	}
	if err := try("ann", password, "1.1.1.1"); !errors.Is(err, auth.ErrTooManySignInFailures) {
		t.Error("the sixth is let try", err)
	}
	testenv.Check(t, try("ann", password, "2.2.2.2"))
	clk.Add(time.Minute)
	testenv.Check(t, try("ann", password, "1.1.1.1"))

	// Many names from one address are one guesser; so are many at once.
	var guesses sync.WaitGroup
	counts := make(chan error, 60)
	for i := range 60 {
		guesses.Go(func() { counts <- try(fmt.Sprint("user", i), "wrong", "3.3.3.3") })
	}
	guesses.Wait()
	close(counts)
	n := 0
	for err := range counts {
		if errors.Is(err, auth.ErrUnauthenticated) {
			n++
		}
	}
	if n != 20 {
		t.Errorf("%d of 60 guesses were looked at", n)
	}

	// A refused sign-in names its user only if there is one, also past the limit.
	for name, want := range map[string]string{"ann": "ann", "my password": ""} {
		var err error
		for range 6 {
			_, err = sessions.SignIn(t.Context(), name, "wrong", "6.6.6.6")
			if refused, ok := errors.AsType[*auth.SignInError](err); !ok || refused.User != want {
				t.Errorf("sign-in of %q is refused with %#v", name, err)
			}
		}
		if !errors.Is(err, auth.ErrTooManySignInFailures) {
			t.Error("the sixth is let try", err)
		}
	}
}
