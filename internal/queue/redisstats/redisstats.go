// Package redisstats is what all queues on Redis keep their books with:
// counters, rates, dead letters, and what an error of Redis means.
package redisstats

import (
	"context"
	_ "embed" // of the script
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
)

// Lua stands in front of the scripts that keep the books: functions millis,
// whole, num, count, rate, keep and release.
//
//go:embed redisstats.lua
var Lua string

// Rates sum what the scripts' rate counted over the last minute: slots of
// rateSlot, in a ring that has one slot more.
type Rates struct {
	in, out int64
	span    float64 // seconds since the first slot began
}

const (
	rateSlot  = 5 * time.Second
	rateSlots = 12
)

// Add adds a ring, as it is at a time of the server's clock.
func (r *Rates) Add(now time.Time, ring map[string]int64) {
	current := now.UnixMilli() / rateSlot.Milliseconds()
	for k := range rateSlots + 1 {
		n := strconv.Itoa(k)
		slot, ok := ring["s"+n]
		if !ok || slot <= current-rateSlots || slot > current {
			continue
		}
		r.in += ring["in"+n]
		r.out += ring["out"+n]
		r.span = max(r.span, float64(now.UnixMilli()-slot*rateSlot.Milliseconds())/1000)
	}
}

// PerSecond is the rates, in events a second.
func (r *Rates) PerSecond() (in, out float64) {
	span := max(r.span, 1)
	return float64(r.in) / span, float64(r.out) / span
}

// Numbers are the values of a hash that are whole numbers.
func Numbers(hash map[string]string) map[string]int64 {
	m := make(map[string]int64, len(hash))
	for name, value := range hash {
		m[name], _ = strconv.ParseInt(value, 10, 64)
	}
	return m
}

// Letter reads what keep wrote.
func Letter(m redis.XMessage) queue.DeadLetter {
	text := func(name string) string { v, _ := m.Values[name].(string); return v }
	number := func(s string) int64 { v, _ := strconv.ParseInt(s, 10, 64); return v }
	id, _, _ := strings.Cut(m.ID, "-")
	return queue.DeadLetter{
		ID: number(id), Reason: queue.DeadReason(text("k")), Cause: text("c"), AgentID: text("a"), EventID: text("e"),
		Events: int(number(text("n"))), Time: time.UnixMicro(number(text("t"))).UTC(), Payload: []byte(text("d")),
	}
}

// AppendLetter appends what keep wants of a letter, as one of a kind.
func AppendLetter(args []any, kind queue.DeadReason, l *queue.DeadLetter) []any {
	at := l.Time
	if at.IsZero() {
		at = time.Now()
	}
	payload := l.Payload
	if payload == nil {
		payload = []byte{}
	}
	return append(args, string(kind), l.Cause, l.AgentID, l.EventID, l.Events, at.UnixMicro(), payload)
}

// Unavailable gives an error of Redis its kind. Whatever keeps Redis from
// doing its part is a lack that may pass; a caller that left is not. That
// there is nothing is no error.
func Unavailable(err error) error {
	switch {
	case err == nil, errors.Is(err, redis.Nil):
		return nil
	case errors.Is(err, picket.ErrUnavailable), errors.Is(err, picket.ErrInvalid), errors.Is(err, ErrClosed), errors.Is(err, context.Canceled):
		return err
	case strings.Contains(err.Error(), "OOM command not allowed"):
		return fmt.Errorf("redis has no memory left: %w: %w", err, queue.ErrFull)
	}
	return fmt.Errorf("redis: %w: %w", err, picket.ErrUnavailable)
}

// ErrClosed is a queue that was closed.
var ErrClosed = errors.New("queue is closed")
