package redisstats

import (
	"sync"
	"time"
)

// The usage of a queue is read again after maxUsageAge or, if the queue is full, after
// maxFullUsageAge.
const (
	maxUsageAge     = 250 * time.Millisecond
	maxFullUsageAge = 20 * time.Millisecond
)

// A UsageCache caches how full a queue is, which takes a round trip to read. In
// between, it is estimated from what this process does.
type UsageCache[T any] struct {
	mu    sync.Mutex
	value T
	read  time.Time
	err   error // of the last read
}

// Reserve changes the usage by change, unless checkFull returns an error for it, which is
// returned. Before, it reads the usage if that is old; without one that could be read,
// nothing can be reserved.
func (u *UsageCache[T]) Reserve(read func() (T, error), checkFull func(T) error, change func(*T)) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	age := time.Since(u.read)
	if age > maxUsageAge || age > maxFullUsageAge && u.err == nil && checkFull(u.value) != nil {
		// Errors are cached too, or every caller would wait for the timeout of a
		// server that does not answer, one after another.
		u.value, u.err = read()
		u.read = time.Now()
	}
	if u.err != nil {
		return u.err
	}
	if err := checkFull(u.value); err != nil {
		return err
	}
	change(&u.value)
	return nil
}

// Add changes the usage.
func (u *UsageCache[T]) Add(change func(*T)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	change(&u.value)
}
