// Package auth authenticates callers: agents, collectors and programs by token,
// people by name and password, browsers by session. Every HTTP handler uses it.
// It stores only hashes of secrets.
package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// Kinds of token.
const (
	KindAgent     = "agent"     // posts telemetry as one agent
	KindCollector = "collector" // posts telemetry for any agent
	KindAPI       = "api"       // reads and acts within its role
)

// Kinds of identity that have no token.
const (
	KindUser = "user" // a person, signed in at the console
	KindCLI  = "cli"  // a user of the operating system, on the command line
)

// Roles of people and of API tokens. Each includes the permissions of those
// before it.
const (
	RoleViewer  = "viewer"  // reads
	RoleAnalyst = "analyst" // triages alerts
	RoleAdmin   = "admin"   // manages dead letters, rules, users and tokens
)

var roleRank = map[string]int{RoleViewer: 1, RoleAnalyst: 2, RoleAdmin: 3}

// ValidRole reports whether role is a role.
func ValidRole(role string) bool { return roleRank[role] > 0 }

// ErrUnauthenticated: the credentials are missing or not valid. ErrForbidden: they
// are valid but do not permit the request.
var (
	ErrUnauthenticated = errors.New("not authenticated")
	ErrForbidden       = errors.New("not allowed")
)

// An Identity is an authenticated caller.
type Identity struct {
	Kind    string // KindAgent, KindCollector, KindAPI, KindUser or KindCLI
	Subject string // agent id, collector's or program's name, user name
	Role    string // of a person or an API token
	TokenID string // of an agent's token
	Host    string // of an agent's token, see store.Token
}

// HasRole reports whether the identity has the role or a higher one.
func (id Identity) HasRole(role string) bool { return roleRank[id.Role] >= roleRank[role] }

// RequireRole returns ErrForbidden unless the identity has the role or a higher one.
func (id Identity) RequireRole(role string) error {
	if id.HasRole(role) {
		return nil
	}
	return fmt.Errorf("this needs the role %s, and %s has the role %s: %w", role, id, id.Role, ErrForbidden)
}

// String returns the identity as it appears in logs and audit entries.
func (id Identity) String() string { return id.Kind + ":" + id.Subject }

// Author returns the identity as it signs notes: a person by name, a program or a command
// with its kind, so that it cannot be mistaken for a person of that name.
func (id Identity) Author() string {
	if id.Kind == KindUser {
		return id.Subject
	}
	return id.String()
}

// NewToken returns a token for the store and its secret: 40 hex digits, the format
// of legacy tokens.
func NewToken(kind, subject, role string, now time.Time) (token store.Token, secret string, err error) {
	switch {
	case kind == KindAgent && !agentIDPattern.MatchString(subject):
		return store.Token{}, "", fmt.Errorf("create token: %q is no id of 1 to 256 characters without spaces: %w", subject, picket.ErrInvalid)
	case kind == KindAPI && !ValidRole(role):
		return store.Token{}, "", fmt.Errorf("create token: role %q is none of viewer, analyst, admin: %w", role, picket.ErrInvalid)
	case kind != KindAPI && kind != KindAgent && kind != KindCollector:
		return store.Token{}, "", fmt.Errorf("create token: unknown kind %q: %w", kind, picket.ErrInvalid)
	}
	if kind != KindAgent {
		if err := CheckName(subject); err != nil {
			return store.Token{}, "", fmt.Errorf("create token: %w", err)
		}
	}
	secret, id := randomHex(secretBytes), randomHex(4)
	return store.Token{ID: id, Hash: hashSecret(secret), Kind: kind, Subject: subject, Role: role, Created: now.UTC()}, secret, nil
}

// secretBytes is the number of random bytes of a secret.
const secretBytes = 20

// randomHex returns byteCount random bytes in hex.
func randomHex(byteCount int) string {
	b := make([]byte, byteCount)
	rand.Read(b) // never returns an error: it crashes the program instead
	return hex.EncodeToString(b)
}

// hashSecret returns what the store keeps of a secret. The secret is random, so it needs
// no salt and no slow hash. A look-up by hash leaks nothing through timing: an
// attacker who does not know the secret cannot choose the hash.
func hashSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// tokenCacheTTL is how long a looked-up token stays valid in the cache, and so how long
// a revocation may take.
const tokenCacheTTL = time.Second

// maxCachedTokens bounds the cache; beyond it tokens are looked up more often.
const maxCachedTokens = 1 << 16

// A TokenVerifier checks tokens against a store. It is safe for concurrent use.
type TokenVerifier struct {
	// Grace is how long a token stays valid after the store last confirmed it, while
	// the store is unavailable: senders then need not wait, but a token that was
	// revoked meanwhile still posts. Readers get an error from the store anyway.
	Grace time.Duration
	// Log gets a line a minute while tokens are accepted without the store.
	Log *slog.Logger

	store store.Tokens
	now   func() time.Time

	unconfirmed atomic.Int64 // requests accepted without the store

	mu     sync.Mutex
	cache  map[[sha256.Size]byte]cachedToken // valid tokens only
	warned time.Time
	// lastBinding is the token and the host that were bound last.
	lastBinding string
}

type cachedToken struct {
	id        Identity
	until     time.Time // next look-up
	confirmed time.Time // last answer of the store
	graced    bool      // the store did not answer the last look-up
}

// DefaultTokenGrace is the Grace of a new TokenVerifier.
const DefaultTokenGrace = 15 * time.Minute

// NewTokenVerifier returns a verifier of the tokens in s.
func NewTokenVerifier(s store.Tokens, now func() time.Time) *TokenVerifier {
	return &TokenVerifier{Grace: DefaultTokenGrace, Log: slog.New(slog.DiscardHandler), store: s, now: now, cache: make(map[[sha256.Size]byte]cachedToken)}
}

// Limits while the store is unavailable.
const (
	cachedTokenLookupTimeout   = time.Second     // of a look-up of a cached token
	uncachedTokenLookupTimeout = 5 * time.Second // of a look-up of any other
	cachedTokenRetryInterval   = 5 * time.Second // time between look-ups of a cached token
)

// Unconfirmed returns how many requests were accepted because of Grace.
func (t *TokenVerifier) Unconfirmed() int64 { return t.unconfirmed.Load() }

// Authenticate returns the identity that a token's secret authenticates. An unknown or
// revoked token is ErrUnauthenticated; if the store cannot be asked, the error is
// picket.ErrUnavailable.
func (t *TokenVerifier) Authenticate(ctx context.Context, secret string) (Identity, error) {
	if secret == "" || len(secret) > 256 {
		return Identity{}, ErrUnauthenticated
	}
	sum, now := sha256.Sum256([]byte(secret)), t.now()
	t.mu.Lock()
	c, ok := t.cache[sum]
	cached := ok && now.Before(c.confirmed.Add(max(t.Grace, tokenCacheTTL)))
	fresh := cached && now.Before(c.until)
	if cached && !fresh {
		// One request looks the token up; the others use the cache meanwhile.
		t.cache[sum] = cachedToken{c.id, now.Add(cachedTokenLookupTimeout), c.confirmed, c.graced}
	}
	t.mu.Unlock()
	if fresh {
		if c.graced {
			t.unconfirmed.Add(1)
		}
		return c.id, nil
	}
	tok, err := t.lookUp(ctx, hex.EncodeToString(sum[:]), cached)
	switch {
	case errors.Is(err, picket.ErrNotFound) || err == nil && !tok.Revoked.IsZero():
		t.mu.Lock()
		delete(t.cache, sum)
		t.mu.Unlock()
		return Identity{}, ErrUnauthenticated
	case errors.Is(err, picket.ErrUnavailable) && cached:
		t.cacheToken(sum, cachedToken{c.id, now.Add(cachedTokenRetryInterval), c.confirmed, true})
		t.unconfirmed.Add(1)
		t.warn(now, err)
		return c.id, nil
	case err != nil:
		return Identity{}, fmt.Errorf("check token: %w", err)
	}
	id := Identity{Kind: tok.Kind, Subject: tok.Subject, Role: tok.Role}
	if id.Kind == KindAgent {
		id.TokenID, id.Host = tok.ID, tok.Host
	}
	t.cacheToken(sum, cachedToken{id, now.Add(tokenCacheTTL), now, false})
	return id, nil
}

// AuthenticateSender is Authenticate for tokens that may send telemetry, those of agents and
// collectors. Any other token is ErrForbidden.
func (t *TokenVerifier) AuthenticateSender(ctx context.Context, secret string) (Identity, error) {
	id, err := t.Authenticate(ctx, secret)
	if err == nil && id.Kind != KindAgent && id.Kind != KindCollector {
		err = fmt.Errorf("a token of kind %s cannot send events; this needs one of kind agent or collector: %w", id.Kind, ErrForbidden)
	}
	return id, err
}

// BindHost binds the token of an agent that is not bound yet to the host that it is
// used for, and returns the host that it is bound to. The new binding takes effect in
// Authenticate within a second.
func (t *TokenVerifier) BindHost(ctx context.Context, agent Identity, host string) (bound string, err error) {
	ctx, cancel := context.WithTimeout(ctx, uncachedTokenLookupTimeout)
	defer cancel()
	bound, err = t.store.BindToken(ctx, agent.TokenID, host)
	// Concurrent requests of one agent each bind its token.
	if binding := agent.TokenID + " " + host; err == nil && bound == host && t.isNewBinding(binding) {
		t.Log.Info("agent's token bound to its host", "agent", agent.Subject, "token", agent.TokenID, "host", host)
	}
	return bound, err
}

// isNewBinding reports whether a binding is not the last one that was asked about.
func (t *TokenVerifier) isNewBinding(binding string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	isNew := t.lastBinding != binding
	t.lastBinding = binding
	return isNew
}

// warn logs once a minute that tokens are accepted without the store.
func (t *TokenVerifier) warn(now time.Time, err error) {
	t.mu.Lock()
	due := now.Sub(t.warned) >= time.Minute
	if due {
		t.warned = now
	}
	t.mu.Unlock()
	if due {
		t.Log.Warn("tokens are accepted without the store, also those revoked since it last answered", "grace", t.Grace, "requests", t.unconfirmed.Load(), "error", err)
	}
}

// cacheToken caches a token.
func (t *TokenVerifier) cacheToken(sum [sha256.Size]byte, c cachedToken) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.cache) >= maxCachedTokens {
		clear(t.cache)
	}
	t.cache[sum] = c
}

// lookUp reads a token from the store. A timeout is picket.ErrUnavailable.
func (t *TokenVerifier) lookUp(ctx context.Context, hash string, cached bool) (store.Token, error) {
	limit := uncachedTokenLookupTimeout
	if cached { // other requests use the answer too
		ctx, limit = context.WithoutCancel(ctx), cachedTokenLookupTimeout
	}
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tok, err := t.store.TokenByHash(bounded, hash)
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", err, picket.ErrUnavailable)
	}
	return tok, err
}
