package store

import (
	"context"
	"time"
)

// Accounts keeps who may do what. Secrets are kept only as hashes, made by
// package auth.
type Accounts interface {
	Tokens
	Users
	Sessions
	// AddAuditEntry appends to the record of who did what; AuditLog reads it back,
	// newest first.
	AddAuditEntry(ctx context.Context, e AuditEntry) error
	AuditLog(ctx context.Context, limit int) ([]AuditEntry, error)
}

// Tokens keeps the tokens of agents, collectors and programs.
type Tokens interface {
	// AddToken is picket.ErrConflict where there is one of the same ID or hash.
	AddToken(ctx context.Context, t Token) error
	// TokenByHash returns picket.ErrNotFound where there is none, and revoked
	// tokens with Revoked set.
	TokenByHash(ctx context.Context, hash string) (Token, error)
	Tokens(ctx context.Context) ([]Token, error)
	// RevokeToken ends a token by its ID; picket.ErrNotFound where there is
	// none. The first time that it is revoked counts.
	RevokeToken(ctx context.Context, id string, at time.Time) error
}

// A Token lets a program in. Kind and Subject say as whom.
type Token struct {
	ID      string    `json:"id"`      // short and public, to list and revoke by
	Hash    string    `json:"-"`       // hex SHA-256 of the secret, which is 160 random bits
	Kind    string    `json:"kind"`    // "agent", "collector" or "api"
	Subject string    `json:"subject"` // the agent id, or the collector's or program's name
	Role    string    `json:"role,omitempty"`
	Created time.Time `json:"created"`
	Revoked time.Time `json:"revoked,omitzero"`
}

// Users keeps the people who sign in.
type Users interface {
	// AddUser is picket.ErrConflict where there is one of the same name: of
	// many who add it at once, one does.
	AddUser(ctx context.Context, u User) error
	// PutUser adds or replaces a user by name.
	PutUser(ctx context.Context, u User) error
	// User returns picket.ErrNotFound where there is none.
	User(ctx context.Context, name string) (User, error)
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

// Sessions keeps who is signed in.
type Sessions interface {
	AddSession(ctx context.Context, s Session) error
	// Session returns picket.ErrNotFound where there is none or it has expired.
	Session(ctx context.Context, hash string, now time.Time) (Session, error)
	DeleteSession(ctx context.Context, hash string) error
	// DeleteUserSessions ends all of a user's, as when the password changes.
	DeleteUserSessions(ctx context.Context, user string) error
}

// A Session is one browser's sign-in.
type Session struct {
	Hash    string // hex SHA-256 of the cookie's secret
	User    string
	Created time.Time
	Expires time.Time
}

// An AuditEntry says who did what to what.
type AuditEntry struct {
	Time   time.Time `json:"time"`
	Actor  string    `json:"actor"`
	Action string    `json:"action"` // as in "alert.update", "token.create", "sign-in"
	Object string    `json:"object"`
	Detail string    `json:"detail,omitempty"`
}
