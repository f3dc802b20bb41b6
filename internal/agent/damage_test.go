package agent_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/picket-edr/picket/internal/agent"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/testenv"
	"github.com/picket-edr/picket/internal/zst"
)

// A damagedSpool fails as one whose file is damaged.
type damagedSpool struct {
	*sqlitequeue.Queue
	enqueue, receive bool
}

func (s damagedSpool) Enqueue(ctx context.Context, m queue.Message, ls ...queue.DeadLetter) error {
	if s.enqueue {
		return fmt.Errorf("enqueue: %w", queue.ErrDamaged)
	}
	return s.Queue.Enqueue(ctx, m, ls...)
}

func (s damagedSpool) Receive(ctx context.Context, most int) ([]queue.Delivery, error) {
	if s.receive {
		return nil, fmt.Errorf("receive: %w", queue.ErrDamaged)
	}
	return s.Queue.Receive(ctx, most)
}

// A spool that is damaged while the agent runs ends it, so that the spool can be salvaged.
// A source whose position is saved continues before the events that were not spooled.
func TestSpoolDamagedWhileRunning(t *testing.T) {
	for name, damage := range map[string]damagedSpool{"reading": {receive: true}, "writing": {enqueue: true}} {
		t.Run(name, func(t *testing.T) {
			s, src := newServer(t), numbered(1500)
			src.hang = true
			damage.Queue = newSpool(t, sqlitequeue.Options{})
			o := fastOptions(t, s, damage, src)
			o.Inputs[0].Lossless = true
			o.Checkpoints = agent.NewCheckpointFile(t.TempDir() + "/checkpoints.json")
			a := agent.New(o)
			if err := a.Run(t.Context()); !errors.Is(err, queue.ErrDamaged) {
				t.Fatalf("error %v", err)
			}
			if n := a.UnreportedLoss(); n != 0 {
				t.Errorf("%d events lost", n)
			}
			src.hang = false
			o.Spool, o.Inputs[0].Source = damage.Queue, src
			run(t, o)
			wantEventsOnce(t, s, src)
		})
	}
}

// A payload with a flipped bit is not intact, unless it still means the same.
func TestIsIntact(t *testing.T) {
	const events = `[{"a":1},{"b":2}]`
	payload := zst.CompressForSpeed(nil, []byte(events))
	if !agent.IsIntact(payload, 2) || agent.IsIntact(payload, 3) || agent.IsIntact(nil, 0) || agent.IsIntact(payload[:len(payload)-1], 2) {
		t.Error("a payload is taken for another")
	}
	for i := range payload {
		for bit := range 8 {
			payload[i] ^= 1 << bit
			if agent.IsIntact(payload, 2) {
				r, err := zst.NewReader(payload)
				testenv.Check(t, err)
				if got, err := io.ReadAll(r); string(got) != events || err != nil {
					t.Errorf("bit %d of byte %d is flipped, and not noticed: %q, %v", bit, i, got, err)
				}
				r.Close()
			}
			payload[i] ^= 1 << bit
		}
	}
}
