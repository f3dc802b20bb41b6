package sqlitestore_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/store/sqlitestore"
	"github.com/picket-edr/picket/internal/store/storetest"
	"github.com/picket-edr/picket/internal/zst"
)

func goldenClock() time.Time { return storetest.GoldenTime }

// The databases under testdata were written by an earlier version of picket
// (schema version 4), one without and one with indexed blocks.
func TestGolden(t *testing.T) {
	for _, name := range []string{"fresh", "indexed"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "events.db")
			unpack(t, path, filepath.Join("testdata", name+".db.zst"))
			storetest.CheckGolden(t, open(t, path, sqlitestore.Options{NoBackground: true, Now: goldenClock}))
		})
	}
	t.Run("written now", func(t *testing.T) {
		t.Parallel()
		s := open(t, filepath.Join(t.TempDir(), "events.db"), sqlitestore.Options{NoBackground: true, Now: goldenClock})
		storetest.FillGolden(t, s)
		storetest.CheckGolden(t, s)
	})
}

// Databases with senders, of schema version 6, without and with indexed blocks.
func TestGoldenSenders(t *testing.T) {
	for _, name := range []string{"senders", "senders-indexed"} {
		path := filepath.Join(t.TempDir(), "events.db")
		unpack(t, path, filepath.Join("testdata", name+".db.zst"))
		storetest.CheckGoldenSenders(t, open(t, path, sqlitestore.Options{NoBackground: true, Now: goldenClock}))
	}
	s := open(t, filepath.Join(t.TempDir(), "events.db"), sqlitestore.Options{NoBackground: true, Now: goldenClock})
	storetest.FillGoldenSenders(t, s)
	storetest.CheckGoldenSenders(t, s)
}

func unpack(t *testing.T, to, from string) {
	t.Helper()
	packed, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := zst.Decompress(nil, packed)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, plain, 0o600); err != nil {
		t.Fatal(err)
	}
}
