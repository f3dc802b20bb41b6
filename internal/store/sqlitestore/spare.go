package sqlitestore

import "runtime"

// A freeList keeps things with large buffers for use again: a few, and through
// garbage collections, which a sync.Pool would empty it at.
type freeList[T any] struct {
	free    chan T
	newItem func() T
}

func newFreeList[T any](f func() T) freeList[T] {
	return freeList[T]{free: make(chan T, runtime.GOMAXPROCS(0)+1), newItem: f}
}

func (s freeList[T]) get() T {
	select {
	case v := <-s.free:
		return v
	default:
		return s.newItem()
	}
}

func (s freeList[T]) put(v T) {
	select {
	case s.free <- v:
	default:
	}
}
