package sqlitestore

import "runtime"

// A freeList keeps a few items with large buffers for reuse. Unlike a sync.Pool,
// it is not emptied by garbage collection.
type freeList[T any] struct {
	free    chan T
	newItem func() T
}

func newFreeList[T any](newItem func() T) freeList[T] {
	return freeList[T]{free: make(chan T, runtime.GOMAXPROCS(0)+1), newItem: newItem}
}

func (l freeList[T]) get() T {
	select {
	case v := <-l.free:
		return v
	default:
		return l.newItem()
	}
}

func (l freeList[T]) put(v T) {
	select {
	case l.free <- v:
	default:
	}
}
