package ingest

import (
	"crypto/rand"
	"encoding/hex"
	"sync/atomic"
)

// Metrics count events since the process started; the queue's own counters
// are the durable ones.
type Metrics struct {
	Requests      atomic.Int64 // that reached the queue
	Accepted      atomic.Int64
	Rejected      atomic.Int64
	LegacyDropped atomic.Int64 // given up for want of room, of agents that cannot keep them
	LegacyWaiting atomic.Int64 // requests of such agents that wait now
	AgentDropped  atomic.Int64 // that agents say they dropped, their spools being full
}

// newBatchID returns 128 random bits in hex.
func newBatchID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
