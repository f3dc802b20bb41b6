// Package auth knows who is asking: agents, collectors and programs by token,
// people by name and password, browsers by session. It sits under every HTTP
// handler, and keeps of a secret only what cannot be turned back into it.
package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// The kinds of token.
const (
	KindAgent     = "agent"     // posts telemetry as one agent
	KindCollector = "collector" // posts telemetry for any agent
	KindAPI       = "api"       // reads and acts within its role
)

// The roles of people and of API tokens; each may do what those before it may.
const (
	RoleViewer  = "viewer"  // reads
	RoleAnalyst = "analyst" // triages alerts
	RoleAdmin   = "admin"   // tends dead letters, rules, users and tokens
)

var rank = map[string]int{RoleViewer: 1, RoleAnalyst: 2, RoleAdmin: 3}

// ValidRole reports whether there is such a role.
func ValidRole(role string) bool { return rank[role] > 0 }

// ErrUnauthenticated is no credentials, or none that are valid. ErrForbidden
// is valid ones that don't reach.
var (
	ErrUnauthenticated = errors.New("not authenticated")
	ErrForbidden       = errors.New("not allowed")
)

// An Identity is who is asking.
type Identity struct {
	Kind    string // KindAgent, KindCollector, KindAPI, or "user" for a person
	Subject string // agent id, collector's or program's name, user name
	Role    string // of a person or an API token
}

// Can reports whether the identity has at least the role.
func (id Identity) Can(role string) bool { return rank[id.Role] >= rank[role] }

// String names the identity in logs and audit entries.
func (id Identity) String() string { return id.Kind + ":" + id.Subject }

// NewToken makes a token for the store, and the secret that its holder shows:
// 40 hex digits, as the replaced system's tokens have.
func NewToken(kind, subject, role string, now time.Time) (store.Token, string, error) {
	switch {
	case subject == "" || len(subject) > 256:
		return store.Token{}, "", fmt.Errorf("create token: a name of 1 to 256 bytes is needed: %w", picket.ErrInvalid)
	case kind == KindAPI && !ValidRole(role):
		return store.Token{}, "", fmt.Errorf("create token: role %q is none of viewer, analyst, admin: %w", role, picket.ErrInvalid)
	case kind != KindAPI && kind != KindAgent && kind != KindCollector:
		return store.Token{}, "", fmt.Errorf("create token: unknown kind %q: %w", kind, picket.ErrInvalid)
	}
	secret, id := randomHex(secretBytes), randomHex(4)
	return store.Token{ID: id, Hash: hash(secret), Kind: kind, Subject: subject, Role: role, Created: now.UTC()}, secret, nil
}

// secretBytes is how many random bytes a token is made of, in hex.
const secretBytes = 20

// randomHex returns n random bytes in hex.
func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails: it ends the program instead
	return hex.EncodeToString(b)
}

// hash is what the store keeps of a secret that is random itself, so that no
// salt or slow hash is needed. Looking one up by its hash leaks nothing of the
// secret through timing: who doesn't know it cannot steer the hash.
func hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// tokenTTL is how long a token that was looked up is trusted without looking
// again: how late a revocation can be.
const tokenTTL = time.Second

// maxCachedTokens bounds the cache; a fleet above it costs look-ups.
const maxCachedTokens = 1 << 16

// Tokens checks tokens against a store. It is safe for concurrent use.
type Tokens struct {
	store store.Tokens
	now   func() time.Time

	mu    sync.Mutex
	cache map[[sha256.Size]byte]cachedToken // valid ones only
}

type cachedToken struct {
	id    Identity
	until time.Time // not asked again before
	asked time.Time // when the store said so
}

// NewTokens returns a checker of the store's tokens.
func NewTokens(s store.Tokens, now func() time.Time) *Tokens {
	return &Tokens{store: s, now: now, cache: make(map[[sha256.Size]byte]cachedToken)}
}

// What a store that is away may cost. A token that is known goes on to let in
// for knownTokenGrace: who posts need not wait for the store, and who reads is
// told anyway that it is away.
const (
	knownTokenTimeout   = time.Second // how long a known token waits for the store
	unknownTokenTimeout = 5 * time.Second
	unavailableFor      = 5 * time.Second // and how long then it does not ask
	knownTokenGrace     = time.Hour
)

// Check returns whose token the secret is, or an error that is
// ErrUnauthenticated, or picket.ErrUnavailable where the store does not say.
func (t *Tokens) Check(ctx context.Context, secret string) (Identity, error) {
	if secret == "" || len(secret) > 256 {
		return Identity{}, ErrUnauthenticated
	}
	sum, now := sha256.Sum256([]byte(secret)), t.now()
	t.mu.Lock()
	c, ok := t.cache[sum]
	if ok && !now.Before(c.until) && now.Before(c.asked.Add(knownTokenGrace)) {
		// One asks for all: the others go by what is known meanwhile.
		t.cache[sum] = cachedToken{c.id, now.Add(knownTokenTimeout), c.asked}
	}
	t.mu.Unlock()
	if ok && now.Before(c.until) {
		return c.id, nil
	}
	known := ok && now.Before(c.asked.Add(knownTokenGrace))
	tok, err := t.lookUp(ctx, hex.EncodeToString(sum[:]), known)
	switch {
	case errors.Is(err, picket.ErrNotFound) || err == nil && !tok.Revoked.IsZero():
		t.mu.Lock()
		delete(t.cache, sum)
		t.mu.Unlock()
		return Identity{}, ErrUnauthenticated
	case errors.Is(err, picket.ErrUnavailable) && known:
		t.remember(sum, cachedToken{c.id, now.Add(unavailableFor), c.asked})
		return c.id, nil
	case err != nil:
		return Identity{}, fmt.Errorf("check token: %w", err)
	}
	id := Identity{Kind: tok.Kind, Subject: tok.Subject, Role: tok.Role}
	t.remember(sum, cachedToken{id, now.Add(tokenTTL), now})
	return id, nil
}

// CheckSender is Check for tokens that may send telemetry, those of agents and
// collectors. Any other token is ErrForbidden.
func (t *Tokens) CheckSender(ctx context.Context, secret string) (Identity, error) {
	id, err := t.Check(ctx, secret)
	if err == nil && id.Kind != KindAgent && id.Kind != KindCollector {
		err = fmt.Errorf("post telemetry with a token of kind %s: %w", id.Kind, ErrForbidden)
	}
	return id, err
}

func (t *Tokens) remember(sum [sha256.Size]byte, c cachedToken) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.cache) >= maxCachedTokens {
		clear(t.cache)
	}
	t.cache[sum] = c
}

// lookUp asks the store. One that does not answer in time is unavailable.
func (t *Tokens) lookUp(ctx context.Context, hash string, known bool) (store.Token, error) {
	limit := unknownTokenTimeout
	if known { // others go by the answer: it is not this caller's alone
		ctx, limit = context.WithoutCancel(ctx), knownTokenTimeout
	}
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tok, err := t.store.TokenByHash(bounded, hash)
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", err, picket.ErrUnavailable)
	}
	return tok, err
}
