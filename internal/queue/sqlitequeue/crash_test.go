package sqlitequeue_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/picket-edr/picket/internal/queue/queuetest"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
)

func openIn(dir string) (queuetest.Queue, error) {
	return sqlitequeue.Open(filepath.Join(dir, "queue.db"), sqlitequeue.Options{Logger: slog.New(slog.DiscardHandler)})
}

func TestKill(t *testing.T) {
	t.Parallel()
	queuetest.RunKillTest(t, openIn)
}

func TestPoison(t *testing.T) {
	t.Parallel()
	queuetest.RunPoisonTest(t, openIn)
}

// TestTornTail damages the end of the write-ahead log of a killed process: each
// acknowledged message is either delivered or reported as lost by Open.
func TestTornTail(t *testing.T) {
	t.Parallel()
	if queuetest.RunIfChild(t, openIn) {
		return
	}
	rng := rand.New(rand.NewPCG(3, 4))
	reported := 0
	for round := range 12 {
		dir := t.TempDir()
		children := queuetest.NewChildReports()
		children.RunAndKillChild(t, dir)
		path := filepath.Join(dir, "queue.db")
		wal, err := os.ReadFile(path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		cut := 1 + rng.IntN(200<<10)
		switch at := max(len(wal)-cut, 0); round % 3 {
		case 0:
			wal = wal[:at]
		case 1:
			wal[at] ^= 0x40
		case 2:
			clear(wal[at:])
		}
		if err := os.WriteFile(path+"-wal", wal, 0o600); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		q, err := sqlitequeue.Open(path, sqlitequeue.Options{Logger: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelError}))})
		if err != nil {
			t.Fatal(err)
		}
		var line struct{ Events int }
		if log.Len() > 0 {
			reported++
			if err := json.Unmarshal(log.Bytes(), &line); err != nil {
				t.Fatalf("%v in %s", err, log.Bytes())
			}
			if kept, _ := filepath.Glob(path + "-wal.damaged-*"); len(kept) != 1 {
				t.Errorf("damaged logs kept: %q", kept)
			}
		}
		if missing := children.DrainMissing(t, q); len(missing) > line.Events {
			t.Errorf("round %d: %d acknowledged messages are gone, %d reported: %s", round, len(missing), line.Events, &log)
		}
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if reported == 0 {
		t.Error("no round lost anything, so nothing was tested")
	}
}
