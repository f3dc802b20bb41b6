package mongostore

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

type tokenDoc struct {
	ID      string `bson:"_id"`
	Hash    string `bson:"hash"`
	Kind    string `bson:"kind"`
	Subject string `bson:"subject"`
	Role    string `bson:"role"`
	Host    string `bson:"host,omitempty"`
	Created int64  `bson:"created"` // microseconds, as all times of accounts
	Revoked *int64 `bson:"revoked"`
}

func (d *tokenDoc) token() store.Token {
	t := store.Token{ID: d.ID, Hash: d.Hash, Kind: d.Kind, Subject: d.Subject, Role: d.Role, Host: d.Host, Created: fromMicros(d.Created)}
	if d.Revoked != nil {
		t.Revoked = fromMicros(*d.Revoked)
	}
	return t
}

// AddToken implements store.Tokens.
func (s *Store) AddToken(ctx context.Context, t store.Token) error {
	d := tokenDoc{ID: t.ID, Hash: t.Hash, Kind: t.Kind, Subject: t.Subject, Role: t.Role, Host: t.Host, Created: t.Created.UnixMicro()}
	if !t.Revoked.IsZero() {
		us := t.Revoked.UnixMicro()
		d.Revoked = &us
	}
	if err := insert(ctx, s.tokens, d); err != nil {
		return fmt.Errorf("add token %s: %w", t.ID, err)
	}
	return nil
}

// TokenByHash implements store.Tokens.
func (s *Store) TokenByHash(ctx context.Context, hash string) (store.Token, error) {
	d, err := findOne[tokenDoc](ctx, s.tokens, bson.D{bsonElem("hash", hash)})
	if err != nil {
		return store.Token{}, fmt.Errorf("look up token: %w", err)
	}
	return d.token(), nil
}

// Tokens implements store.Tokens.
func (s *Store) Tokens(ctx context.Context) ([]store.Token, error) {
	docs, err := find[tokenDoc](ctx, s.tokens, bson.D{}, options.Find().SetSort(bson.D{bsonElem("created", 1), bsonElem("_id", 1)}))
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	var out []store.Token
	for i := range docs {
		out = append(out, docs[i].token())
	}
	return out, nil
}

// RevokeToken implements store.Tokens.
func (s *Store) RevokeToken(ctx context.Context, id string, at time.Time) error {
	_, err := findOne[tokenDoc](ctx, s.tokens, byID(id))
	if err == nil {
		err = withTimeout(ctx, opTimeout, func(ctx context.Context) error {
			_, err := s.tokens.UpdateOne(ctx, bson.D{bsonElem("_id", id), bsonElem("revoked", nil)},
				bson.D{bsonElem("$set", bson.D{bsonElem("revoked", at.UnixMicro())})})
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("revoke token %s: %w", id, err)
	}
	return nil
}

// BindToken implements store.Tokens.
func (s *Store) BindToken(ctx context.Context, id, host string) (bound string, err error) {
	unbound := bson.D{bsonElem("_id", id), bsonElem("host", nil)} // or without the field
	if _, err = s.updateToken(ctx, unbound, host); err == nil {
		var d tokenDoc
		d, err = findOne[tokenDoc](ctx, s.tokens, byID(id))
		bound = d.Host
	}
	if err != nil {
		return "", fmt.Errorf("bind token %s to a host: %w", id, err)
	}
	return bound, nil
}

// SetTokenHost implements store.Tokens.
func (s *Store) SetTokenHost(ctx context.Context, id, host string) error {
	found, err := s.updateToken(ctx, byID(id), host)
	if err == nil && !found {
		err = picket.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("change the host of token %s: %w", id, err)
	}
	return nil
}

// updateToken sets the host of the token that a filter selects.
func (s *Store) updateToken(ctx context.Context, filter bson.D, host string) (found bool, err error) {
	update := bson.D{bsonElem("$set", bson.D{bsonElem("host", host)})}
	if host == "" {
		update = bson.D{bsonElem("$unset", bson.D{bsonElem("host", "")})}
	}
	err = withTimeout(ctx, opTimeout, func(ctx context.Context) error {
		r, err := s.tokens.UpdateOne(ctx, filter, update)
		if err == nil {
			found = r.MatchedCount > 0
		}
		return err
	})
	return found, err
}

type userDoc struct {
	Name         string `bson:"_id"`
	PasswordHash string `bson:"password_hash"`
	Role         string `bson:"role"`
	Disabled     bool   `bson:"disabled"`
	Created      int64  `bson:"created"`
}

func (d *userDoc) user() store.User {
	return store.User{Name: d.Name, PasswordHash: d.PasswordHash, Role: d.Role, Disabled: d.Disabled, Created: fromMicros(d.Created)}
}

func userDocOf(u store.User) userDoc {
	return userDoc{Name: u.Name, PasswordHash: u.PasswordHash, Role: u.Role, Disabled: u.Disabled, Created: u.Created.UnixMicro()}
}

// AddUser implements store.Users.
func (s *Store) AddUser(ctx context.Context, u store.User) error {
	if err := insert(ctx, s.users, userDocOf(u)); err != nil {
		return fmt.Errorf("add user %s: %w", u.Name, err)
	}
	return nil
}

// PutUser implements store.Users.
func (s *Store) PutUser(ctx context.Context, u store.User) error {
	err := withTimeout(ctx, opTimeout, func(ctx context.Context) error {
		_, err := s.users.ReplaceOne(ctx, byID(u.Name), userDocOf(u), options.Replace().SetUpsert(true))
		return err
	})
	if err != nil {
		return fmt.Errorf("put user %s: %w", u.Name, err)
	}
	return nil
}

// User implements store.Users.
func (s *Store) User(ctx context.Context, name string) (store.User, error) {
	d, err := findOne[userDoc](ctx, s.users, byID(name))
	if err != nil {
		return store.User{}, fmt.Errorf("read user %s: %w", name, err)
	}
	return d.user(), nil
}

// DeleteUser implements store.Users.
func (s *Store) DeleteUser(ctx context.Context, name string) error {
	err := withTimeout(ctx, opTimeout, func(ctx context.Context) error {
		r, err := s.users.DeleteOne(ctx, byID(name))
		if err == nil && r.DeletedCount == 0 {
			err = picket.ErrNotFound
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("delete user %s: %w", name, err)
	}
	return nil
}

// Users implements store.Users.
func (s *Store) Users(ctx context.Context) ([]store.User, error) {
	docs, err := find[userDoc](ctx, s.users, bson.D{}, options.Find().SetSort(byID(1)))
	if err != nil {
		return nil, fmt.Errorf("list users: %w", err)
	}
	var out []store.User
	for i := range docs {
		out = append(out, docs[i].user())
	}
	return out, nil
}

type sessionDoc struct {
	Hash    string `bson:"_id"`
	User    string `bson:"user"`
	Created int64  `bson:"created"`
	Expires int64  `bson:"expires"`
}

// AddSession implements store.Sessions. It also deletes the sessions that have
// expired when the new one is created.
func (s *Store) AddSession(ctx context.Context, ss store.Session) error {
	err := deleteMany(ctx, s.sessions, bson.D{bsonElem("expires", bson.D{bsonElem("$lte", ss.Created.UnixMicro())})})
	if err == nil {
		d := sessionDoc{Hash: ss.Hash, User: ss.User, Created: ss.Created.UnixMicro(), Expires: ss.Expires.UnixMicro()}
		err = insert(ctx, s.sessions, d)
	}
	if err != nil {
		return fmt.Errorf("add session of %s: %w", ss.User, err)
	}
	return nil
}

// Session implements store.Sessions.
func (s *Store) Session(ctx context.Context, hash string, now time.Time) (store.Session, error) {
	d, err := findOne[sessionDoc](ctx, s.sessions, byID(hash))
	if err == nil && d.Expires <= now.UnixMicro() {
		err = picket.ErrNotFound
	}
	if err != nil {
		return store.Session{}, fmt.Errorf("look up session: %w", err)
	}
	return d.session(), nil
}

// ExtendSession implements store.Sessions.
func (s *Store) ExtendSession(ctx context.Context, hash string, expires time.Time) error {
	err := withTimeout(ctx, opTimeout, func(ctx context.Context) error {
		_, err := s.sessions.UpdateOne(ctx, byID(hash), bson.D{bsonElem("$set", bson.D{bsonElem("expires", expires.UnixMicro())})})
		return err
	})
	if err != nil {
		return fmt.Errorf("extend session: %w", err)
	}
	return nil
}

// UserSessions implements store.Sessions.
func (s *Store) UserSessions(ctx context.Context, user string, now time.Time) ([]store.Session, error) {
	filter := bson.D{bsonElem("user", user), bsonElem("expires", bson.D{bsonElem("$gt", now.UnixMicro())})}
	docs, err := find[sessionDoc](ctx, s.sessions, filter, options.Find().SetSort(bson.D{bsonElem("created", -1), bsonElem("_id", 1)}))
	if err != nil {
		return nil, fmt.Errorf("list sessions of %s: %w", user, err)
	}
	var out []store.Session
	for i := range docs {
		out = append(out, docs[i].session())
	}
	return out, nil
}

func (d *sessionDoc) session() store.Session {
	return store.Session{Hash: d.Hash, User: d.User, Created: fromMicros(d.Created), Expires: fromMicros(d.Expires)}
}

// DeleteSession implements store.Sessions.
func (s *Store) DeleteSession(ctx context.Context, hash string) error {
	if err := deleteMany(ctx, s.sessions, byID(hash)); err != nil {
		return fmt.Errorf("end session: %w", err)
	}
	return nil
}

// DeleteUserSessions implements store.Sessions.
func (s *Store) DeleteUserSessions(ctx context.Context, user string) error {
	if err := deleteMany(ctx, s.sessions, bson.D{bsonElem("user", user)}); err != nil {
		return fmt.Errorf("end sessions of %s: %w", user, err)
	}
	return nil
}
