package redisstats

import (
	"sync"
	"time"
)

// The usage of a queue is read again after usageAge or, if the queue is full, after
// fullUsageAge.
const (
	usageAge     = 250 * time.Millisecond
	fullUsageAge = 20 * time.Millisecond
)

// A Usage caches how full a queue is, which takes a round trip to read. In between, it
// is estimated from what this process does.
type Usage[T any] struct {
	mu    sync.Mutex
	value T
	read  time.Time
	err   error // of the last read
}

// Reserve changes the usage by add, unless full returns an error for it, which is
// returned. Before, it reads the usage if that is old; without one that could be read,
// nothing can be reserved.
func (u *Usage[T]) Reserve(read func() (T, error), full func(T) error, add func(*T)) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	age := time.Since(u.read)
	if age > usageAge || age > fullUsageAge && u.err == nil && full(u.value) != nil {
		// Errors are cached too, or every caller would wait for the timeout of a
		// server that does not answer, one after another.
		u.value, u.err = read()
		u.read = time.Now()
	}
	if u.err != nil {
		return u.err
	}
	if err := full(u.value); err != nil {
		return err
	}
	add(&u.value)
	return nil
}

// Add changes the usage.
func (u *Usage[T]) Add(add func(*T)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	add(&u.value)
}
