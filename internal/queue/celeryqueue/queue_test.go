package celeryqueue_test

import (
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/ingest"
	"github.com/picket-edr/picket/internal/legacy"
	"github.com/picket-edr/picket/internal/queue/celeryqueue"
	"github.com/picket-edr/picket/internal/queue/queuetest"
	"github.com/picket-edr/picket/internal/redistest"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func open(t testing.TB, url string, o celeryqueue.Options) *celeryqueue.Queue {
	t.Helper()
	if o.Logger == nil {
		o.Logger = quiet
	}
	o.Event = event
	q, err := celeryqueue.Open(t.Context(), "celery+"+url, o)
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

var readers = sync.Pool{New: func() any { return ingest.NewReader("celery", legacy.Validator{}) }}

func event(raw []byte, id string, received time.Time) (picket.Event, error) {
	r := readers.Get().(*ingest.Reader)
	defer readers.Put(r)
	return r.Read(raw, id, received)
}

// opener opens queues that share a server and know nothing of each other.
func opener(base string, o celeryqueue.Options) func(t *testing.T) queuetest.Queue {
	var n atomic.Int64
	return func(t *testing.T) queuetest.Queue {
		return open(t, fmt.Sprintf("%s?global_keyprefix=test%d_", base, n.Add(1)), o)
	}
}

func TestConformance(t *testing.T) {
	s := redistest.Start(t, redistest.Durable...)
	queuetest.RunSingle(t, opener(s.URL(), celeryqueue.Options{Group: 1}))
}
