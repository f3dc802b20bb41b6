// Package redisstats holds what all queues on Redis share: counters, rates,
// the encoding of dead letters, and the classification of Redis errors.
package redisstats

import (
	"context"
	_ "embed" // for the script library
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
)

// LuaLibrary defines functions for the queues' scripts and is prepended to
// them.
//
//go:embed redisstats.lua
var LuaLibrary string

// ErrQueueClosed is returned by a queue that was closed.
var ErrQueueClosed = errors.New("queue is closed")

// Rates sums what the Lua function rate counted over the last minute. It counts
// in a ring of slots that each cover rateSlotDuration; the ring has one slot more than
// a minute needs.
type Rates struct {
	in, out int64
	span    float64 // seconds since the oldest slot began
}

const (
	rateSlotDuration = 5 * time.Second
	rateSlots        = 12
)

// Add adds a ring that was read at readAt by the server's clock.
func (r *Rates) Add(readAt time.Time, ring map[string]int64) {
	current := readAt.UnixMilli() / rateSlotDuration.Milliseconds()
	for k := range rateSlots + 1 {
		n := strconv.Itoa(k)
		slot, ok := ring["s"+n]
		if !ok || slot <= current-rateSlots || slot > current {
			continue
		}
		r.in += ring["in"+n]
		r.out += ring["out"+n]
		r.span = max(r.span, float64(readAt.UnixMilli()-slot*rateSlotDuration.Milliseconds())/1000)
	}
}

// PerSecond returns the rates in events per second.
func (r *Rates) PerSecond() (in, out float64) {
	span := max(r.span, 1)
	return float64(r.in) / span, float64(r.out) / span
}

// ParseInts parses the values of a hash. Values that are not integers are 0.
func ParseInts(hash map[string]string) map[string]int64 {
	m := make(map[string]int64, len(hash))
	for name, value := range hash {
		m[name], _ = strconv.ParseInt(value, 10, 64)
	}
	return m
}

// DecodeDeadLetter decodes the stream entry of a dead letter.
func DecodeDeadLetter(m redis.XMessage) queue.DeadLetter {
	text := func(name string) string { v, _ := m.Values[name].(string); return v }
	number := func(s string) int64 { v, _ := strconv.ParseInt(s, 10, 64); return v }
	id, _, _ := strings.Cut(m.ID, "-")
	return queue.DeadLetter{
		ID: number(id), Reason: queue.DeadReason(text("k")), Cause: text("c"), AgentID: text("a"), EventID: text("e"),
		Events: int(number(text("n"))), Time: time.UnixMicro(number(text("t"))).UTC(), Payload: []byte(text("d")),
	}
}

// DecodeDeadLetters decodes the result of the Lua function list_dead_letters.
func DecodeDeadLetters(cmd *redis.Cmd) (deadLetters []queue.DeadLetter, more bool, err error) {
	out, err := cmd.Slice()
	if err != nil {
		return nil, false, WrapError(err)
	}
	for i, v := range out {
		if i == 0 {
			more = v == int64(1)
			continue
		}
		entry, _ := v.([]any)
		if len(entry) != 2 {
			return nil, false, fmt.Errorf("a dead letter is %T", v)
		}
		m := redis.XMessage{Values: make(map[string]any)}
		m.ID, _ = entry[0].(string)
		fields, _ := entry[1].([]any)
		for k := 0; k+1 < len(fields); k += 2 {
			name, _ := fields[k].(string)
			m.Values[name] = fields[k+1]
		}
		deadLetters = append(deadLetters, DecodeDeadLetter(m))
	}
	return deadLetters, more, nil
}

// AppendDeadLetterArgs appends the arguments that the Lua function add_dead_letter
// expects for l, with the given reason.
func AppendDeadLetterArgs(args []any, reason queue.DeadReason, l *queue.DeadLetter) []any {
	at := l.Time
	if at.IsZero() {
		at = time.Now()
	}
	payload := l.Payload
	if payload == nil {
		payload = []byte{}
	}
	return append(args, string(reason), l.Cause, l.AgentID, l.EventID, l.Events, at.UnixMicro(), payload)
}

// WrapError makes an error from Redis a queue.ErrFull if the server is out of
// memory, and otherwise a picket.ErrUnavailable. Errors of the caller's context
// stay as they are. redis.Nil becomes nil.
func WrapError(err error) error {
	switch {
	case err == nil, errors.Is(err, redis.Nil):
		return nil
	case errors.Is(err, picket.ErrUnavailable), errors.Is(err, picket.ErrInvalid), errors.Is(err, ErrQueueClosed), errors.Is(err, context.Canceled):
		return err
	case strings.Contains(err.Error(), "OOM command not allowed"):
		return fmt.Errorf("redis has no memory left: %w: %w", err, queue.ErrFull)
	}
	return fmt.Errorf("redis: %w: %w", err, picket.ErrUnavailable)
}

// OldestDeadLetters returns up to n dead letters of a stream, oldest first, with their
// payloads. It ends at queue.MaxDeadLetterPageBytes, but has at least one if there is
// any.
func OldestDeadLetters(ctx context.Context, client redis.UniversalClient, stream string, n int) (ls []queue.DeadLetter, err error) {
	for from, bytes := "-", 0; len(ls) < n; {
		page, err := client.XRangeN(ctx, stream, from, "+", 1).Result()
		if err != nil {
			return nil, WrapError(err)
		}
		if len(page) == 0 {
			break
		}
		l := DecodeDeadLetter(page[0])
		if bytes += l.EstimateListedBytes(); len(ls) > 0 && bytes > queue.MaxDeadLetterPageBytes {
			break
		}
		ls, from = append(ls, l), "("+page[0].ID
	}
	return ls, nil
}

// AppendMovedDeadLetterArgs appends the arguments of a dead letter of another queue: an
// ID that is the same when the letter is added again, then those of add_dead_letter.
func AppendMovedDeadLetterArgs(args []any, l *queue.DeadLetter) []any {
	return AppendDeadLetterArgs(append(args, fmt.Sprintf("letter-%d-%s", l.ID, l.ContentHash())), l.Reason, l)
}

// CounterArgs returns the arguments of the scripts that add counters: name and number
// of each.
func CounterArgs(c queue.Counters) []any {
	return []any{"accepted", c.Accepted, "rejected", c.Rejected, "failed", c.Failed, "purged", c.Purged, "dropped", c.Dropped}
}
