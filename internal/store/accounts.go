package store

import (
	"context"
	"time"
)

// Accounts stores who may do what. Secrets are stored only as hashes, made by
// package auth.
type Accounts interface {
	Tokens
	Users
	Sessions
	AuditLog
}

// Tokens stores the tokens of agents, collectors and API clients.
type Tokens interface {
	// AddToken is picket.ErrConflict if a token with the same ID or hash exists.
	AddToken(ctx context.Context, t Token) error
	// TokenByHash returns the token or picket.ErrNotFound. A revoked token has
	// Revoked set.
	TokenByHash(ctx context.Context, hash string) (Token, error)
	Tokens(ctx context.Context) ([]Token, error)
	// RevokeToken revokes a token by its ID, or returns picket.ErrNotFound. A token
	// that is revoked already keeps its time of revocation.
	RevokeToken(ctx context.Context, id string, at time.Time) error
	// BindToken binds an agent's token to a host, unless it is bound already, and
	// returns the host that it is bound to. Of several concurrent calls, one binds.
	BindToken(ctx context.Context, id, host string) (bound string, err error)
	// SetTokenHost changes the host that a token is bound to, "" for the next one that
	// is used, or TokenAnyHost. It returns picket.ErrNotFound if there is no such token.
	SetTokenHost(ctx context.Context, id, host string) error
}

// TokenAnyHost is the Host of an agent's token that is not bound to one.
const TokenAnyHost = "*"

// A Token authenticates a program. Kind and Subject say as whom.
type Token struct {
	ID      string    `json:"id"`      // short and public, to refer to it
	Hash    string    `json:"-"`       // hex SHA-256 of the secret, which is 160 random bits
	Kind    string    `json:"kind"`    // "agent", "collector" or "api"
	Subject string    `json:"subject"` // the agent id, or the collector's or program's name
	Role    string    `json:"role,omitempty"`
	Host    string    `json:"host,omitempty"` // that an agent's token is bound to; "" before its first use, or TokenAnyHost
	Created time.Time `json:"created"`
	Revoked time.Time `json:"revoked,omitzero"`
}

// Users stores the people who sign in.
type Users interface {
	// AddUser is picket.ErrConflict if a user of that name exists. Of several
	// concurrent calls with one name, one succeeds.
	AddUser(ctx context.Context, u User) error
	// PutUser adds a user, or replaces the one of that name.
	PutUser(ctx context.Context, u User) error
	// User returns the user or picket.ErrNotFound.
	User(ctx context.Context, name string) (User, error)
	// DeleteUser deletes a user, or returns picket.ErrNotFound.
	DeleteUser(ctx context.Context, name string) error
	Users(ctx context.Context) ([]User, error)
}

// A User is a person who signs in to the console.
type User struct {
	Name         string    `json:"name"`
	PasswordHash string    `json:"-"` // argon2id in PHC string format
	Role         string    `json:"role"`
	Disabled     bool      `json:"disabled"`
	Created      time.Time `json:"created"`
}

// Sessions stores who is signed in.
type Sessions interface {
	AddSession(ctx context.Context, s Session) error
	// Session returns the session, or picket.ErrNotFound also if it has expired.
	Session(ctx context.Context, hash string, now time.Time) (Session, error)
	// ExtendSession changes when a session expires. A session that has been deleted
	// stays so.
	ExtendSession(ctx context.Context, hash string, expires time.Time) error
	// UserSessions lists the sessions of a user that have not expired, the newest
	// first.
	UserSessions(ctx context.Context, user string, now time.Time) ([]Session, error)
	DeleteSession(ctx context.Context, hash string) error
	// DeleteUserSessions signs a user out everywhere, as when the password changes.
	DeleteUserSessions(ctx context.Context, user string) error
}

// A Session is one browser's sign-in.
type Session struct {
	Hash    string // hex SHA-256 of the cookie's secret
	User    string
	Created time.Time
	Expires time.Time
}
