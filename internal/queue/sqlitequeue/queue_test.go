package sqlitequeue_test

import (
	"path/filepath"
	"testing"

	"github.com/picket-edr/picket/internal/queue/queuetest"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
)

func open(t testing.TB, path string, o sqlitequeue.Options) *sqlitequeue.Queue {
	t.Helper()
	q, err := sqlitequeue.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	return q
}

func TestConformance(t *testing.T) {
	t.Parallel()
	queuetest.Run(t, func(t *testing.T) queuetest.Queue {
		return open(t, filepath.Join(t.TempDir(), "queue.db"), sqlitequeue.Options{})
	})
}

func BenchmarkQueue(b *testing.B) {
	queuetest.Benchmark(b, func(b *testing.B) queuetest.Queue {
		return open(b, filepath.Join(b.TempDir(), "queue.db"), sqlitequeue.Options{MaxBytes: 1 << 40})
	})
}
