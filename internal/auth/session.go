package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// An AccountStore holds users and sessions.
type AccountStore interface {
	store.Users
	store.Sessions
}

// A session ends SessionLifetime after the sign-in, or when it has not been used
// for SessionIdleTimeout.
const (
	SessionLifetime    = 12 * time.Hour
	SessionIdleTimeout = 2 * time.Hour
)

// sessionRenewalInterval is how much of SessionIdleTimeout has passed when a use of the session is
// stored.
const sessionRenewalInterval = 5 * time.Minute

// Sessions signs people in and out. It is safe for concurrent use.
type Sessions struct {
	store    AccountStore
	now      func() time.Time
	attempts *signInLimiter
	// hashing serialises password hashing, which takes 19 MiB and a core.
	hashing chan struct{}
}

// NewSessions returns the sign-in of the users in s.
func NewSessions(s AccountStore, now func() time.Time) *Sessions {
	return &Sessions{store: s, now: now, attempts: newSignInLimiter(), hashing: make(chan struct{}, 1)}
}

// maxUserNameBytes bounds the name in a sign-in.
const maxUserNameBytes = 256

// A SignInError is a refused sign-in.
type SignInError struct {
	// User is who was to be signed in, "" unless there is such a user: what was
	// given as a name may be a password.
	User string
	Err  error // ErrUnauthenticated or ErrTooManySignInFailures
}

func (e *SignInError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *SignInError) Unwrap() error { return e.Err }

// SignIn checks a password and returns the secret of a new session. A wrong name
// and a wrong password both are ErrUnauthenticated, and take the same time. Past
// the limits on failures the error is ErrTooManySignInFailures. Both are in a *SignInError.
func (s *Sessions) SignIn(ctx context.Context, name, password, addr string) (sessionSecret string, err error) {
	if len(name) > maxUserNameBytes {
		return "", &SignInError{Err: ErrUnauthenticated}
	}
	attempt, ok := s.attempts.begin(s.now(), name, addr)
	if !ok {
		u, _ := s.store.User(ctx, name) // for the audit log; "" if the store cannot say
		return "", &SignInError{User: u.Name, Err: ErrTooManySignInFailures}
	}
	u, err := s.store.User(ctx, name)
	if err != nil && !errors.Is(err, picket.ErrNotFound) {
		s.attempts.uncount(attempt)
		return "", fmt.Errorf("sign in: %w", err)
	}
	phc := u.PasswordHash
	if err != nil || u.Disabled {
		phc = decoyPasswordHash
	}
	select {
	case s.hashing <- struct{}{}:
	case <-ctx.Done():
		return "", fmt.Errorf("sign in: %w", ctx.Err())
	}
	ok = passwordMatches(phc, password)
	<-s.hashing
	if !ok || phc == decoyPasswordHash {
		return "", &SignInError{User: u.Name, Err: ErrUnauthenticated}
	}
	now := s.now()
	s.attempts.recordSuccess(attempt, now)
	secret := randomHex(secretBytes)
	err = s.store.AddSession(ctx, store.Session{Hash: hashSecret(secret), User: u.Name, Created: now.UTC(), Expires: now.UTC().Add(SessionIdleTimeout)})
	if err != nil {
		return "", fmt.Errorf("sign in %s: %w", name, err)
	}
	return secret, nil
}

// Identify returns the identity of a request's session, or ErrUnauthenticated.
func (s *Sessions) Identify(r *http.Request) (Identity, error) {
	return s.Check(r.Context(), SessionSecret(r), ClientIP(r))
}

// Check returns the identity of a session that is used from an address, or
// ErrUnauthenticated.
func (s *Sessions) Check(ctx context.Context, secret, addr string) (Identity, error) {
	if secret == "" {
		return Identity{}, ErrUnauthenticated
	}
	now := s.now()
	ses, err := s.store.Session(ctx, hashSecret(secret), now)
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
	s.attempts.addKnownAddr(u.Name, addr, now)
	if err := s.extendIfDue(ctx, ses, now); err != nil {
		return Identity{}, err
	}
	return Identity{Kind: KindUser, Subject: u.Name, Role: u.Role}, nil
}

// extendIfDue stores that a session is used, now and then.
func (s *Sessions) extendIfDue(ctx context.Context, ses store.Session, now time.Time) error {
	expires := now.UTC().Add(SessionIdleTimeout)
	if end := ses.Created.Add(SessionLifetime); expires.After(end) {
		expires = end
	}
	if expires.Sub(ses.Expires) < sessionRenewalInterval {
		return nil
	}
	err := s.store.ExtendSession(ctx, ses.Hash, expires)
	if err != nil && !errors.Is(err, picket.ErrUnavailable) {
		return fmt.Errorf("renew session of %s: %w", ses.User, err)
	}
	return nil
}

// SignOut ends a session.
func (s *Sessions) SignOut(ctx context.Context, secret string) error {
	return s.store.DeleteSession(ctx, hashSecret(secret))
}
