package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket/internal/doctor"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/mongostore"
	"github.com/picket-edr/picket/internal/store/sqlitestore"
)

// A storeBackend is one kind of store that --store can name.
type storeBackend struct {
	// accepts reports whether a value of --store names this backend.
	accepts func(name string) bool
	// local is a store in the data directory.
	local bool
	// open opens the store. brief leaves background work to other processes.
	open func(ctx context.Context, l storeLocation, log *slog.Logger, brief bool) (store.Store, error)
	// diagnose reports on the store and its server.
	diagnose func(ctx context.Context, r *doctor.Report, l storeLocation)
}

var storeBackends = []storeBackend{
	{
		accepts: func(name string) bool { return name == "sqlite" },
		local:   true,
		open: func(_ context.Context, l storeLocation, log *slog.Logger, brief bool) (store.Store, error) {
			if err := dataDir(l.data).checkStoreNotLost(); err != nil {
				return nil, err
			}
			s, err := sqlitestore.Open(dataDir(l.data).eventsFile(), sqlitestore.Options{Logger: log, NoBackground: brief, MaxNewAlerts: l.alertQuota()})
			if err != nil { // a nil *Store would be a non-nil store.Store
				return nil, withFileHint(err)
			}
			return s, nil
		},
		diagnose: func(ctx context.Context, r *doctor.Report, l storeLocation) {
			doctor.CheckSQLiteStore(ctx, r, dataDir(l.data).eventsFile())
		},
	},
	{
		accepts: func(name string) bool {
			return strings.HasPrefix(name, "mongodb://") || strings.HasPrefix(name, "mongodb+srv://")
		},
		open: func(ctx context.Context, l storeLocation, log *slog.Logger, brief bool) (store.Store, error) {
			s, err := mongostore.Open(ctx, l.name, mongostore.Options{Logger: log, NoBackground: brief, MaxNewAlerts: l.alertQuota()})
			if err != nil {
				if hint := doctor.MongoHint(err); hint != "" {
					err = withHint(err, hint)
				}
				return nil, err
			}
			return s, nil
		},
		diagnose: func(ctx context.Context, r *doctor.Report, l storeLocation) { doctor.CheckMongoStore(ctx, r, l.name) },
	},
}

// storeUsage describes --store.
const storeUsage = "`ENGINE` of the store: sqlite, or the URI of a MongoDB database, such as mongodb://host:27017/picket"

// A storeLocation is where a store is: --store, and --data for a local one.
type storeLocation struct {
	data, name   string
	maxNewAlerts int // --max-new-alerts, for a store that saves events
}

// maxNewAlertsUsage describes --max-new-alerts.
const maxNewAlertsUsage = "let the events of one agent open at most `N` alerts in a minute, and ten times as many those of one sender of many agents; one more alert has the other matches; 0: no limit"

// alertQuota returns the option MaxNewAlerts of a store.
func (l storeLocation) alertQuota() int {
	if l.maxNewAlerts <= 0 {
		return -1
	}
	return l.maxNewAlerts
}

// addStoreFlags adds --data and --store to a command.
func addStoreFlags(cmd *cobra.Command) *storeLocation {
	l := new(storeLocation)
	cmd.Flags().StringVar(&l.data, "data", "picket-data", "the server's data `DIR`")
	cmd.Flags().StringVar(&l.name, "store", "sqlite", storeUsage)
	return l
}

// backend returns the backend that --store names.
func (l storeLocation) backend() (*storeBackend, error) {
	for i := range storeBackends {
		if b := &storeBackends[i]; b.accepts(l.name) {
			return b, nil
		}
	}
	return nil, usagef("--store is neither sqlite nor the URI of a database, as in mongodb://host:27017/picket")
}

// isRemote reports whether the store is not in the data directory.
func (l storeLocation) isRemote() bool {
	b, err := l.backend()
	return err == nil && !b.local
}

// existingDir returns the data directory. A local store must exist in it.
func (l storeLocation) existingDir() (dataDir, error) {
	b, err := l.backend()
	if err != nil || !b.local {
		return dataDir(l.data), err
	}
	return existingDataDir(l.data)
}

// open opens the store. brief is for a command that leaves background work to
// other processes.
func (l storeLocation) open(ctx context.Context, log *slog.Logger, brief bool) (store.Store, error) {
	b, err := l.backend()
	if err != nil {
		return nil, err
	}
	return b.open(ctx, l, log, brief)
}

// openExisting opens a store that a server has created, for one command.
func (l storeLocation) openExisting(cmd *cobra.Command) (store.Store, error) {
	if _, err := l.existingDir(); err != nil {
		return nil, err
	}
	return l.open(cmd.Context(), nil, true)
}

// openOrCreate opens the store, and creates a local one. It prints a note then,
// because the data directory may be the wrong one.
func (l storeLocation) openOrCreate(cmd *cobra.Command) (store.Store, error) {
	if l.isRemote() {
		return l.openExisting(cmd)
	}
	if _, err := existingDataDir(l.data); errors.Is(err, errLostFile) {
		return nil, err
	} else if err != nil {
		fprintfPrintable(cmd.ErrOrStderr(), "picket: note: no server has been started on %s yet\n", l.data)
	}
	if err := makeDataDir(l.data); err != nil {
		return nil, err
	}
	return l.open(cmd.Context(), nil, true)
}

// withStore runs f on an existing store and closes it.
func (l storeLocation) withStore(cmd *cobra.Command, f func(store.Store) error) error {
	s, err := l.openExisting(cmd)
	if err != nil {
		return err
	}
	return useAndClose(s, f)
}

// asFlag returns the flag that names the location for another command, without a
// password.
func (l storeLocation) asFlag() string {
	if l.isRemote() {
		return "--store …"
	}
	return "--data " + l.data
}
