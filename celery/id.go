package celery

import (
	"crypto/rand"
	"encoding/hex"
	"sync/atomic"
)

// NewID returns the ID of a task, a group, a ticket or a delivery: a random UUID, as
// Python's str(uuid.uuid4()).
func NewID() string {
	var id [16]byte
	rand.Read(id[:]) // never returns an error
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	text := [36]byte{8: '-', 13: '-', 18: '-', 23: '-'}
	hex.Encode(text[:], id[:4])
	hex.Encode(text[9:], id[4:6])
	hex.Encode(text[14:], id[6:8])
	hex.Encode(text[19:], id[8:10])
	hex.Encode(text[24:], id[10:])
	return string(text[:])
}

// A Clock is the Lamport clock of a Celery process: it counts the messages that the
// process sends, and is ahead of all that it has received. Its zero value is ready to
// use. It is safe for concurrent use.
//
// Source: kombu/clocks.py LamportClock.
type Clock struct{ n atomic.Int64 }

// Tick advances the clock by one and returns it, for a message to send.
func (c *Clock) Tick() int64 { return c.n.Add(1) }

// Adjust advances the clock past received, the clock of a received message, and returns
// it.
func (c *Clock) Adjust(received int64) int64 {
	for {
		now := c.n.Load()
		next := max(now, received) + 1
		if c.n.CompareAndSwap(now, next) {
			return next
		}
	}
}

// Now returns the clock without advancing it.
func (c *Clock) Now() int64 { return c.n.Load() }
