package auth

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// Parameters of argon2id (RFC 9106): OWASP's second recommendation, which needs
// less memory than the first.
const (
	argonTime        = 2
	argonMemory      = 19 << 10 // KiB
	argonThreads     = 1
	minPasswordBytes = 10
)

// HashPassword returns the hash of a password in PHC string format.
func HashPassword(password string) (string, error) {
	if len(password) < minPasswordBytes || len(password) > 1024 {
		return "", fmt.Errorf("set password: it must have %d to 1024 characters: %w", minPasswordBytes, picket.ErrInvalid)
	}
	salt := []byte(randomHex(8))
	key := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonThreads, 32)
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", argonMemory, argonTime, argonThreads, b64(salt), b64(key)), nil
}

// NewPassword returns a random password for the first user.
func NewPassword() string { return randomHex(8) }

// checkPassword reports whether a password matches a PHC string.
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

// An AccountStore holds users and sessions.
type AccountStore interface {
	store.Users
	store.Sessions
}

// SessionLifetime is how long a session lasts.
const SessionLifetime = 12 * time.Hour

// Sessions signs people in and out. It is safe for concurrent use.
type Sessions struct {
	store AccountStore
	now   func() time.Time
	// hashing serialises password hashing, which takes 19 MiB and a core.
	hashing sync.Mutex

	mu       sync.Mutex
	attempts map[string][]time.Time // failed or in progress, by user and by address
}

// NewSessions returns the sign-in of the users in s.
func NewSessions(s AccountStore, now func() time.Time) *Sessions {
	return &Sessions{store: s, now: now, attempts: make(map[string][]time.Time)}
}

// ErrTooMany: too many failed sign-ins in the last minute.
var ErrTooMany = errors.New("too many failed sign-ins")

// How many sign-ins may fail within attemptWindow: of one user from one address,
// from one address, and of one user. The last is high, so that others cannot
// easily lock a user out.
const (
	maxAttempts     = 5
	maxAddrAttempts = 4 * maxAttempts
	maxUserAttempts = 10 * maxAttempts
	attemptWindow   = time.Minute
)

// maxUserNameBytes bounds the name in a sign-in.
const maxUserNameBytes = 256

// SignIn checks a password and returns the secret of a new session. A wrong name
// and a wrong password both are ErrUnauthenticated, and take the same time. After
// five failures a minute of a user from an address, the error is ErrTooMany.
func (s *Sessions) SignIn(ctx context.Context, name, password, addr string) (string, error) {
	if len(name) > maxUserNameBytes {
		return "", ErrUnauthenticated
	}
	now := s.now()
	attempt, ok := s.beginAttempt(now, name, addr)
	if !ok {
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
	s.hashing.Lock()
	ok = checkPassword(phc, password)
	s.hashing.Unlock()
	if !ok || phc == decoy {
		return "", ErrUnauthenticated
	}
	s.removeAttempt(attempt, now)
	secret := randomHex(20)
	err = s.store.AddSession(ctx, store.Session{Hash: hash(secret), User: u.Name, Created: now.UTC(), Expires: now.UTC().Add(SessionLifetime)})
	if err != nil {
		return "", fmt.Errorf("sign in %s: %w", name, err)
	}
	return secret, nil
}

// decoy is a hash that matches no password. It is checked for unknown users, so
// that they take as long as known ones.
const decoy = "$argon2id$v=19$m=19456,t=2,p=1$MDAwMDAwMDAwMDAwMDAwMA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// Check returns the identity of a session, or ErrUnauthenticated.
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

// SignOut ends a session.
func (s *Sessions) SignOut(ctx context.Context, secret string) error {
	return s.store.DeleteSession(ctx, hash(secret))
}

// beginAttempt counts an attempt as failed until removeAttempt, so that concurrent
// attempts cannot exceed the limits. It returns false past a limit.
func (s *Sessions) beginAttempt(now time.Time, name, addr string) (keys [3]string, ok bool) {
	keys = [3]string{"both " + addr + "\x00" + name, "addr " + addr, "user " + name}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, most := range [...]int{maxAttempts, maxAddrAttempts, maxUserAttempts} {
		if s.recentAttempts(keys[i], now) >= most {
			return keys, false
		}
	}
	if len(s.attempts) >= maxCachedTokens {
		clear(s.attempts) // bounds the memory that made-up names take
	}
	for _, key := range keys {
		s.attempts[key] = append(s.attempts[key], now)
	}
	return keys, true
}

// removeAttempt removes a successful attempt from the failures.
func (s *Sessions) removeAttempt(keys [3]string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keys {
		if i := slices.Index(s.attempts[key], at); i >= 0 {
			s.attempts[key] = slices.Delete(s.attempts[key], i, i+1)
		}
	}
}

// recentAttempts counts the attempts within the window and deletes older ones; s.mu
// is held.
func (s *Sessions) recentAttempts(key string, now time.Time) int {
	left := slices.DeleteFunc(s.attempts[key], func(at time.Time) bool { return now.Sub(at) >= attemptWindow })
	if len(left) == 0 {
		delete(s.attempts, key)
		return 0
	}
	s.attempts[key] = left
	return len(left)
}
