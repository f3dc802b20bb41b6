package sqlitestore

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore/block"
)

// exec runs one statement, and returns how many rows it changed.
func (s *Store) exec(ctx context.Context, q string, args ...any) (int64, error) {
	var n int64
	err := s.writer.transact(ctx, func(t *tx) error {
		var err error
		n, err = t.exec(q, args...)
		return err
	})
	if err != nil {
		return 0, err // if ctx has ended, the statement may still be running and write n
	}
	return n, nil
}

var errExists = fmt.Errorf("it exists already: %w", picket.ErrConflict)

// AddToken implements store.Tokens.
func (s *Store) AddToken(ctx context.Context, t store.Token) error {
	var revoked any
	if !t.Revoked.IsZero() {
		revoked = block.Micros(t.Revoked)
	}
	n, err := s.exec(ctx, `INSERT INTO tokens (id, hash, kind, subject, role, host, created, revoked) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT DO NOTHING`, t.ID, t.Hash, t.Kind, t.Subject, t.Role, t.Host, block.Micros(t.Created), revoked)
	if err == nil && n == 0 {
		err = errExists
	}
	if err != nil {
		return fmt.Errorf("add token %s: %w", t.ID, err)
	}
	return nil
}

const tokenColumns = "id, hash, kind, subject, role, host, created, revoked"

func scanToken(r rowScanner) (store.Token, error) {
	var t store.Token
	var created int64
	var revoked sql.NullInt64
	err := r.Scan(&t.ID, &t.Hash, &t.Kind, &t.Subject, &t.Role, &t.Host, &created, &revoked)
	t.Created = block.FromMicros(created)
	if revoked.Valid {
		t.Revoked = block.FromMicros(revoked.Int64)
	}
	return t, err
}

// TokenByHash implements store.Tokens.
func (s *Store) TokenByHash(ctx context.Context, hash string) (store.Token, error) {
	t, err := scanToken(s.lookupDB.QueryRowContext(ctx, "SELECT "+tokenColumns+" FROM tokens WHERE hash = ?", hash))
	if err != nil {
		return store.Token{}, fmt.Errorf("look up token: %w", mapNoRows(err))
	}
	return t, nil
}

// Tokens implements store.Tokens.
func (s *Store) Tokens(ctx context.Context) ([]store.Token, error) {
	var out []store.Token
	err := s.queryLookupDB(ctx, "SELECT "+tokenColumns+" FROM tokens ORDER BY created, id", nil, func(r *sql.Rows) error {
		t, err := scanToken(r)
		out = append(out, t)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	return out, nil
}

// RevokeToken implements store.Tokens.
func (s *Store) RevokeToken(ctx context.Context, id string, at time.Time) error {
	n, err := s.exec(ctx, "UPDATE tokens SET revoked = coalesce(revoked, ?) WHERE id = ?", block.Micros(at), id)
	if err == nil && n == 0 {
		err = picket.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("revoke token %s: %w", id, err)
	}
	return nil
}

// BindToken implements store.Tokens.
func (s *Store) BindToken(ctx context.Context, id, host string) (bound string, err error) {
	err = s.writer.transact(ctx, func(t *tx) error {
		if _, err := t.exec("UPDATE tokens SET host = ? WHERE id = ? AND host = ''", host, id); err != nil {
			return err
		}
		return mapNoRows(t.writer.queryRow("SELECT host FROM tokens WHERE id = ?", id).Scan(&bound))
	})
	if err != nil {
		return "", fmt.Errorf("bind token %s to a host: %w", id, err)
	}
	return bound, nil
}

// SetTokenHost implements store.Tokens.
func (s *Store) SetTokenHost(ctx context.Context, id, host string) error {
	n, err := s.exec(ctx, "UPDATE tokens SET host = ? WHERE id = ?", host, id)
	if err == nil && n == 0 {
		err = picket.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("change the host of token %s: %w", id, err)
	}
	return nil
}

// AddUser implements store.Users.
func (s *Store) AddUser(ctx context.Context, u store.User) error {
	n, err := s.exec(ctx, `INSERT INTO users (name, password_hash, role, disabled, created) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT DO NOTHING`, u.Name, u.PasswordHash, u.Role, u.Disabled, block.Micros(u.Created))
	if err == nil && n == 0 {
		err = errExists
	}
	if err != nil {
		return fmt.Errorf("add user %s: %w", u.Name, err)
	}
	return nil
}

// PutUser implements store.Users.
func (s *Store) PutUser(ctx context.Context, u store.User) error {
	_, err := s.exec(ctx, `INSERT INTO users (name, password_hash, role, disabled, created) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET password_hash = excluded.password_hash, role = excluded.role,
		disabled = excluded.disabled, created = excluded.created`, u.Name, u.PasswordHash, u.Role, u.Disabled, block.Micros(u.Created))
	if err != nil {
		return fmt.Errorf("put user %s: %w", u.Name, err)
	}
	return nil
}

const userColumns = "name, password_hash, role, disabled, created"

func scanUser(r rowScanner) (store.User, error) {
	var u store.User
	var created int64
	err := r.Scan(&u.Name, &u.PasswordHash, &u.Role, &u.Disabled, &created)
	u.Created = block.FromMicros(created)
	return u, err
}

// User implements store.Users.
func (s *Store) User(ctx context.Context, name string) (store.User, error) {
	u, err := scanUser(s.lookupDB.QueryRowContext(ctx, "SELECT "+userColumns+" FROM users WHERE name = ?", name))
	if err != nil {
		return store.User{}, fmt.Errorf("read user %s: %w", name, mapNoRows(err))
	}
	return u, nil
}

// DeleteUser implements store.Users.
func (s *Store) DeleteUser(ctx context.Context, name string) error {
	n, err := s.exec(ctx, "DELETE FROM users WHERE name = ?", name)
	if err == nil && n == 0 {
		err = picket.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("delete user %s: %w", name, err)
	}
	return nil
}

// Users implements store.Users.
func (s *Store) Users(ctx context.Context) ([]store.User, error) {
	var out []store.User
	err := s.queryLookupDB(ctx, "SELECT "+userColumns+" FROM users ORDER BY name", nil, func(r *sql.Rows) error {
		u, err := scanUser(r)
		out = append(out, u)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list users: %w", err)
	}
	return out, nil
}

// AddSession implements store.Sessions. It also deletes the sessions that have
// expired when the new one is created.
func (s *Store) AddSession(ctx context.Context, ss store.Session) error {
	err := s.writer.transact(ctx, func(t *tx) error {
		_, err := t.exec("DELETE FROM sessions WHERE expires <= ?", block.Micros(ss.Created))
		if err != nil {
			return err
		}
		_, err = t.exec("INSERT OR REPLACE INTO sessions (hash, user, created, expires) VALUES (?, ?, ?, ?)",
			ss.Hash, ss.User, block.Micros(ss.Created), block.Micros(ss.Expires))
		return err
	})
	if err != nil {
		return fmt.Errorf("add session of %s: %w", ss.User, err)
	}
	return nil
}

// Session implements store.Sessions.
func (s *Store) Session(ctx context.Context, hash string, now time.Time) (store.Session, error) {
	ss := store.Session{Hash: hash}
	var created, expires int64
	err := s.lookupDB.QueryRowContext(ctx, "SELECT user, created, expires FROM sessions WHERE hash = ? AND expires > ?", hash, block.Micros(now)).
		Scan(&ss.User, &created, &expires)
	if err != nil {
		return store.Session{}, fmt.Errorf("look up session: %w", mapNoRows(err))
	}
	ss.Created, ss.Expires = block.FromMicros(created), block.FromMicros(expires)
	return ss, nil
}

// ExtendSession implements store.Sessions.
func (s *Store) ExtendSession(ctx context.Context, hash string, expires time.Time) error {
	if _, err := s.exec(ctx, "UPDATE sessions SET expires = ? WHERE hash = ?", block.Micros(expires), hash); err != nil {
		return fmt.Errorf("extend session: %w", err)
	}
	return nil
}

// UserSessions implements store.Sessions.
func (s *Store) UserSessions(ctx context.Context, user string, now time.Time) ([]store.Session, error) {
	var out []store.Session
	err := s.queryLookupDB(ctx, "SELECT hash, created, expires FROM sessions WHERE user = ? AND expires > ? ORDER BY created DESC, hash",
		[]any{user, block.Micros(now)}, func(r *sql.Rows) error {
			ss := store.Session{User: user}
			var created, expires int64
			err := r.Scan(&ss.Hash, &created, &expires)
			ss.Created, ss.Expires = block.FromMicros(created), block.FromMicros(expires)
			out = append(out, ss)
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("list sessions of %s: %w", user, err)
	}
	return out, nil
}

// DeleteSession implements store.Sessions.
func (s *Store) DeleteSession(ctx context.Context, hash string) error {
	if _, err := s.exec(ctx, "DELETE FROM sessions WHERE hash = ?", hash); err != nil {
		return fmt.Errorf("end session: %w", err)
	}
	return nil
}

// DeleteUserSessions implements store.Sessions.
func (s *Store) DeleteUserSessions(ctx context.Context, user string) error {
	if _, err := s.exec(ctx, "DELETE FROM sessions WHERE user = ?", user); err != nil {
		return fmt.Errorf("end sessions of %s: %w", user, err)
	}
	return nil
}
