package auth

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// argon2id's cost: the second choice of OWASP's list, for a server that also
// has events to store. See RFC 9106.
const (
	argonTime    = 2
	argonMemory  = 19 << 10 // KiB
	argonThreads = 1
	minPassword  = 10
)

// HashPassword returns the hash of a password in PHC string format.
func HashPassword(password string) (string, error) {
	if len(password) < minPassword || len(password) > 1024 {
		return "", fmt.Errorf("set password: it must have %d to 1024 characters: %w", minPassword, picket.ErrInvalid)
	}
	salt := []byte(random(8))
	key := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonThreads, 32)
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", argonMemory, argonTime, argonThreads, b64(salt), b64(key)), nil
}

// NewPassword makes a password up, for the first user.
func NewPassword() string { return random(8) }

func checkPassword(phc, password string) bool {
	parts := strings.Split(phc, "$")
	if len(parts) != 6 || parts[1] != "argon2id" || len(password) > 1024 {
		return false
	}
	var memory, time uint32
	var threads uint8
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &time, &threads); err != nil || threads == 0 || time == 0 {
		return false
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	want, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil {
		return false
	}
	got := argon2.IDKey([]byte(password), salt, time, memory, threads, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1
}

// People is what signing in needs of a store.
type People interface {
	store.Users
	store.Sessions
}

// SessionLife is how long a sign-in lasts.
const SessionLife = 12 * time.Hour

// Sessions signs people in and out. It is safe for concurrent use.
type Sessions struct {
	store People
	now   func() time.Time
	// busy lets one password be hashed at a time: each takes 19 MiB and a core.
	busy sync.Mutex

	mu       sync.Mutex
	attempts map[string][]time.Time // failed, by user and by address
}

// NewSessions returns the sign-in over a store.
func NewSessions(s People, now func() time.Time) *Sessions {
	return &Sessions{store: s, now: now, attempts: make(map[string][]time.Time)}
}

// ErrTooMany is too many failed sign-ins; Retry-After is a minute.
var ErrTooMany = errors.New("too many failed sign-ins")

const (
	maxAttempts   = 5
	attemptWindow = time.Minute
)

// SignIn checks a password and returns the secret for the session's cookie.
// Five failures a minute, for a user or from an address, and it is ErrTooMany;
// a wrong name and a wrong password are the same ErrUnauthenticated, and take
// the same time.
func (s *Sessions) SignIn(ctx context.Context, name, password, addr string) (string, error) {
	now := s.now()
	if s.failures("user "+name, now) >= maxAttempts || s.failures("addr "+addr, now) >= 4*maxAttempts {
		return "", ErrTooMany
	}
	u, err := s.store.User(ctx, name)
	if err != nil && !errors.Is(err, picket.ErrNotFound) {
		return "", fmt.Errorf("sign in %s: %w", name, err)
	}
	phc := u.PasswordHash
	if err != nil || u.Disabled {
		phc = decoy
	}
	s.busy.Lock()
	ok := checkPassword(phc, password)
	s.busy.Unlock()
	if !ok || phc == decoy {
		s.fail("user "+name, now)
		s.fail("addr "+addr, now)
		return "", ErrUnauthenticated
	}
	secret := random(20)
	err = s.store.AddSession(ctx, store.Session{Hash: hash(secret), User: u.Name, Created: now.UTC(), Expires: now.UTC().Add(SessionLife)})
	if err != nil {
		return "", fmt.Errorf("sign in %s: %w", name, err)
	}
	return secret, nil
}

// decoy is the hash of nobody's password, checked where there is no user.
const decoy = "$argon2id$v=19$m=19456,t=2,p=1$MDAwMDAwMDAwMDAwMDAwMA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// Check returns who a session's cookie is for, or ErrUnauthenticated.
func (s *Sessions) Check(ctx context.Context, secret string) (Identity, error) {
	if secret == "" {
		return Identity{}, ErrUnauthenticated
	}
	ses, err := s.store.Session(ctx, hash(secret), s.now())
	if errors.Is(err, picket.ErrNotFound) {
		return Identity{}, ErrUnauthenticated
	}
	if err != nil {
		return Identity{}, fmt.Errorf("check session: %w", err)
	}
	u, err := s.store.User(ctx, ses.User)
	if errors.Is(err, picket.ErrNotFound) || err == nil && u.Disabled {
		return Identity{}, ErrUnauthenticated
	}
	if err != nil {
		return Identity{}, fmt.Errorf("check session of %s: %w", ses.User, err)
	}
	return Identity{Kind: "user", Subject: u.Name, Role: u.Role}, nil
}

// SignOut ends the session.
func (s *Sessions) SignOut(ctx context.Context, secret string) error {
	return s.store.EndSession(ctx, hash(secret))
}

func (s *Sessions) failures(key string, now time.Time) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	recent := s.attempts[key][:0]
	for _, at := range s.attempts[key] {
		if now.Sub(at) < attemptWindow {
			recent = append(recent, at)
		}
	}
	if len(recent) == 0 {
		delete(s.attempts, key)
		return 0
	}
	s.attempts[key] = recent
	return len(recent)
}

func (s *Sessions) fail(key string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.attempts) >= maxCachedTokens {
		clear(s.attempts) // made-up names must not take memory without end
	}
	s.attempts[key] = append(s.attempts[key], now)
}
