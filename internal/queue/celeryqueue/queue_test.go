package celeryqueue_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/picket-edr/picket/internal/queue/celeryqueue"
	"github.com/picket-edr/picket/internal/queue/celeryqueue/celerytest"
	"github.com/picket-edr/picket/internal/queue/queuetest"
	"github.com/picket-edr/picket/internal/redistest"
)

// opener opens queues that share a server and know nothing of each other.
func opener(base string, o celeryqueue.Options) func(t *testing.T) queuetest.Queue {
	var n atomic.Int64
	return func(t *testing.T) queuetest.Queue {
		return celerytest.Open(t, fmt.Sprintf("%s?global_keyprefix=test%d_", base, n.Add(1)), o)
	}
}

func TestConformance(t *testing.T) {
	s := redistest.Start(t, redistest.DurableArgs...)
	queuetest.RunSingleEvent(t, opener(s.URL(), celeryqueue.Options{Group: 1}))
}
