package sqlitestore

import "runtime"

// A spare keeps things with large buffers for use again: a few, and through
// garbage collections, which a sync.Pool would empty it at.
type spare[T any] struct {
	free chan T
	make func() T
}

func newSpare[T any](f func() T) spare[T] {
	return spare[T]{free: make(chan T, runtime.GOMAXPROCS(0)+1), make: f}
}

func (s spare[T]) get() T {
	select {
	case v := <-s.free:
		return v
	default:
		return s.make()
	}
}

func (s spare[T]) put(v T) {
	select {
	case s.free <- v:
	default:
	}
}
