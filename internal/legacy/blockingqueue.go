package legacy

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/ingest"
	"github.com/picket-edr/picket/internal/queue"
)

// maxWaitingPayloadBytes bounds the payloads of batches that wait for room in the
// queue. Batches past it are dropped.
const maxWaitingPayloadBytes = 64 << 20

// A BlockingQueue protects the batches of legacy agents, which discard a batch
// on any answer but 200 and 201. While the queue is full their requests wait
// instead of failing. Batches that still find no room are dropped, counted and
// logged, and answered as accepted with no events queued.
//
// It wraps both sides of the intake: Enqueue is between the intake and the
// queue, HideFullQueue around the intake's handler. It is safe for concurrent use.
type BlockingQueue struct {
	queue ingest.Enqueuer
	wait  time.Duration
	log   *slog.Logger

	bytes   atomic.Int64 // of the payloads that wait
	waiting atomic.Int64
	dropped atomic.Int64
}

// NewBlockingQueue returns a BlockingQueue in front of q, in which a batch waits
// for at most maxWait.
func NewBlockingQueue(q ingest.Enqueuer, maxWait time.Duration, log *slog.Logger) *BlockingQueue {
	return &BlockingQueue{queue: q, wait: maxWait, log: log}
}

// WaitingRequests returns how many requests wait now.
func (q *BlockingQueue) WaitingRequests() int64 { return q.waiting.Load() }

// DroppedEvents returns how many events have been dropped since the start.
func (q *BlockingQueue) DroppedEvents() int64 { return q.dropped.Load() }

// requestDropped is what was dropped of a legacy agent's request. It is in its context.
type requestDropped struct{ events int }

type requestDroppedContextKey struct{}

// isLegacyAgent reports whether a request comes from a legacy agent.
func isLegacyAgent(r *http.Request) bool { return strings.HasPrefix(r.UserAgent(), "EDR-Agent/") }

// HideFullQueue returns h for all senders: the requests of legacy agents may wait, and
// never see a full queue.
func (q *BlockingQueue) HideFullQueue(h httpapi.Handler) httpapi.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if !isLegacyAgent(r) {
			return h(w, r)
		}
		// The wait is longer than the server's deadline for other requests.
		http.NewResponseController(w).SetWriteDeadline(time.Now().Add(q.wait + 30*time.Second))
		var state requestDropped
		err := h(w, r.WithContext(context.WithValue(r.Context(), requestDroppedContextKey{}, &state)))
		if errors.Is(err, queue.ErrFull) && state.events > 0 {
			return httpapi.WriteJSON(w, http.StatusCreated, ingest.AllDroppedAnswer(state.events))
		}
		return err
	}
}

// Enqueue puts a batch on the queue. For a legacy agent it waits while the
// queue is full.
func (q *BlockingQueue) Enqueue(ctx context.Context, m queue.Message, rejected ...queue.DeadLetter) error {
	err := q.queue.Enqueue(ctx, m, rejected...)
	state, legacy := ctx.Value(requestDroppedContextKey{}).(*requestDropped)
	if err == nil || !legacy {
		return err
	}
	if errors.Is(err, queue.ErrFull) {
		// The agent may disconnect meanwhile. It has discarded the batch by
		// then, so this copy is the last.
		err = q.waitForRoom(context.WithoutCancel(ctx), m, rejected)
	}
	if err != nil {
		state.events = m.Events + len(rejected)
		q.dropped.Add(int64(state.events))
		q.log.Error("dropped the batch of a legacy agent", "agent", m.Agent, "events", state.events, "error", err)
	}
	return err
}

// waitForRoom retries until the queue takes the batch or the wait is over.
func (q *BlockingQueue) waitForRoom(ctx context.Context, m queue.Message, rejected []queue.DeadLetter) error {
	size := int64(len(m.Payload))
	for i := range rejected {
		size += int64(len(rejected[i].Payload))
	}
	defer q.bytes.Add(-size)
	if q.bytes.Add(size) > maxWaitingPayloadBytes {
		return queue.ErrFull
	}
	q.waiting.Add(1)
	defer q.waiting.Add(-1)
	deadline := time.NewTimer(q.wait)
	defer deadline.Stop()
	pause := 50 * time.Millisecond
	for {
		retry := time.NewTimer(pause)
		select {
		case <-deadline.C:
			retry.Stop()
			return queue.ErrFull
		case <-retry.C:
			if err := q.queue.Enqueue(ctx, m, rejected...); !errors.Is(err, queue.ErrFull) {
				return err
			}
		}
		pause = min(2*pause, time.Second)
	}
}
