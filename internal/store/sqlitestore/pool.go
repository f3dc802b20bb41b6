package sqlitestore

import "runtime"

// A pool keeps a few items with large buffers for reuse. Unlike a sync.Pool,
// it is not emptied by garbage collection.
type pool[T any] struct {
	free    chan T
	newItem func() T
}

func newPool[T any](newItem func() T) pool[T] {
	return pool[T]{free: make(chan T, runtime.GOMAXPROCS(0)+1), newItem: newItem}
}

func (p pool[T]) getOrCreate() T {
	select {
	case v := <-p.free:
		return v
	default:
		return p.newItem()
	}
}

func (p pool[T]) put(v T) {
	select {
	case p.free <- v:
	default:
	}
}
