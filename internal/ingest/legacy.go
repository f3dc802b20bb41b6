package ingest

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/picket-edr/picket/internal/queue"
)

// isLegacy knows the replaced system's agent, which throws its batch away on
// any answer but 200 and 201.
func isLegacy(r *http.Request) bool { return strings.HasPrefix(r.UserAgent(), "EDR-Agent/") }

// extendDeadline lets a request that waits for room outlive the server's
// deadline for ordinary ones.
func (h *Handler) extendDeadline(w http.ResponseWriter) {
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(h.opt.LegacyWait + 30*time.Second))
}

// maxWaiting bounds the bytes of the batches that wait for room: past it they
// are given up, as is one that has waited for Options.LegacyWait.
const maxWaiting = 64 << 20

// waitForRoom tries again until there is room, or no more waiting. The agent
// may go in the meantime: it has forgotten the batch by then, and this is all
// that is left of it.
func (h *Handler) waitForRoom(ctx context.Context, m queue.Message, letters []queue.DeadLetter) error {
	size := int64(len(m.Payload))
	for i := range letters {
		size += int64(len(letters[i].Payload))
	}
	defer h.waiting.Add(-size)
	if h.waiting.Add(size) > maxWaiting {
		return queue.ErrFull
	}
	h.Metrics.LegacyWaiting.Add(1)
	defer h.Metrics.LegacyWaiting.Add(-1)
	deadline := time.NewTimer(h.opt.LegacyWait)
	defer deadline.Stop()
	pause := 50 * time.Millisecond
	for {
		again := time.NewTimer(pause)
		select {
		case <-deadline.C:
			again.Stop()
			return queue.ErrFull
		case <-again.C:
			if err := h.queue.Enqueue(ctx, m, letters...); !errors.Is(err, queue.ErrFull) {
				return err
			}
		}
		pause = min(2*pause, time.Second)
	}
}
