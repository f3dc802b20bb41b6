package sqlitestore

import (
	"hash/maphash"
	"sync"
)

// frameCacheSize is how many frames are kept unpacked: those of the newest
// blocks, which almost every search begins with. They take half a megabyte
// each.
const frameCacheSize = 32

// A FrameCache keeps unpacked frames by the bytes that they were packed in, so
// that it does not matter which block they are in by now. It is safe for
// concurrent use; what it gives out must not be changed.
type FrameCache struct {
	seed maphash.Seed

	mu     sync.Mutex
	frames map[uint64]cachedFrame
}

type cachedFrame struct {
	plain []byte
	seq   int64 // of the block that it was in
}

func NewFrameCache() *FrameCache {
	return &FrameCache{seed: maphash.MakeSeed(), frames: make(map[uint64]cachedFrame)}
}

// get returns what packed unpacks to, nil where that is not kept, and the key
// to keep it by.
func (c *FrameCache) get(packed []byte) (plain []byte, key uint64) {
	key = maphash.Bytes(c.seed, packed)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.frames[key].plain, key
}

// put keeps a copy of plain, in the place of the oldest block's frame if need
// be. A frame that is older than all is not kept: a search through everything
// leaves the newest where they are.
func (c *FrameCache) put(key uint64, seq int64, plain []byte) {
	if len(plain) > 4*frameSize {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.frames) >= frameCacheSize {
		oldest, at := seq, uint64(0)
		for k, f := range c.frames {
			if f.seq < oldest {
				oldest, at = f.seq, k
			}
		}
		if oldest == seq {
			return
		}
		delete(c.frames, at)
	}
	c.frames[key] = cachedFrame{append([]byte(nil), plain...), seq}
}
