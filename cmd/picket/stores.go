package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/mongostore"
	"github.com/picket-edr/picket/internal/store/sqlitestore"
)

// embedded is the store in the data directory.
const embedded = "sqlite"

// storeUsage describes --store.
const storeUsage = "`ENGINE` of the store: sqlite, or the URI of a MongoDB database, as in mongodb://host:27017/picket"

// uriHint is what to do about a URI that can't be read.
const uriHint = "a URI is as in mongodb://user:password@host1,host2/picket?replicaSet=rs0"

// A storePlace is where a store is: in a data directory, or a database.
type storePlace struct{ data, engine string }

// addStoreFlags adds --data and --store to a command on what is stored.
func addStoreFlags(cmd *cobra.Command) *storePlace {
	p := new(storePlace)
	cmd.Flags().StringVar(&p.data, "data", "picket-data", "the server's data `DIR`")
	cmd.Flags().StringVar(&p.engine, "store", embedded, storeUsage)
	return p
}

func (p *storePlace) remote() bool { return p.engine != embedded }

// check refuses an engine that there is none of.
func (p *storePlace) check() error {
	if p.remote() && !strings.HasPrefix(p.engine, "mongodb://") && !strings.HasPrefix(p.engine, "mongodb+srv://") {
		return usagef("--store is neither sqlite nor the URI of a database, as in mongodb://host:27017/picket")
	}
	return nil
}

// dir returns the data directory. Where the store is in there, a server must
// have made it.
func (p *storePlace) dir() (dataDir, error) {
	if err := p.check(); err != nil || p.remote() {
		return dataDir(p.data), err
	}
	return existing(p.data)
}

// open opens the store. brief is for a command that leaves background work to
// others.
func (p *storePlace) open(ctx context.Context, log *slog.Logger, brief bool) (store.Store, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	if !p.remote() {
		s, err := sqlitestore.Open(dataDir(p.data).events(), sqlitestore.Options{Logger: log, NoBackground: brief})
		if err != nil { // a nil *Store would be no nil store.Store
			return nil, hintedAccess(err)
		}
		return s, nil
	}
	s, err := mongostore.Open(ctx, p.engine, mongostore.Options{Logger: log, NoBackground: brief})
	if err != nil {
		if hint := mongoHint(err); hint != "" {
			err = hinted(err, hint)
		}
		return nil, err
	}
	return s, nil
}

// openBrief opens what is there, for one command.
func (p *storePlace) openBrief(cmd *cobra.Command) (store.Store, error) {
	if _, err := p.dir(); err != nil {
		return nil, err
	}
	return p.open(cmd.Context(), nil, true)
}

// make opens the store where a server may be yet to come. It says so: in a
// directory that is none's by mistake, nobody would ask for the account.
func (p *storePlace) make(cmd *cobra.Command) (store.Store, error) {
	if p.remote() {
		return p.openBrief(cmd)
	}
	if _, err := existing(p.data); err != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "picket: note: no server has been started on %s yet\n", p.data)
	}
	if err := makeDataDir(p.data); err != nil {
		return nil, err
	}
	return p.open(cmd.Context(), nil, true)
}

// with runs f on the store, and closes it.
func (p *storePlace) with(cmd *cobra.Command, f func(store.Store) error) error {
	s, err := p.openBrief(cmd)
	if err != nil {
		return err
	}
	return with(s, f)
}

// flag is how another command is told the place, without a password.
func (p *storePlace) flag() string {
	if p.remote() {
		return "--store …"
	}
	return "--data " + p.data
}
