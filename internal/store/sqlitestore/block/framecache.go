package block

import (
	"hash/maphash"
	"sync"
)

// What is cached: the unpacked frames of the newest blocks, with which almost every
// search begins.
const (
	maxCachedFrames = 32 // frames
	frameCacheBytes = (maxCachedFrames + 2) * frameBytes
)

// A FrameCache holds unpacked frames. Its keys are hashes of the packed bytes,
// so a frame stays cached when its block is merged into another. It is safe for
// concurrent use; the bytes it returns must not be changed.
type FrameCache struct {
	seed maphash.Seed

	mu     sync.Mutex
	frames map[uint64]cachedFrame
	bytes  int // of frames
}

type cachedFrame struct {
	plain []byte
	seq   int64 // of the block that it was read from
}

// NewFrameCache returns an empty FrameCache.
func NewFrameCache() *FrameCache {
	return &FrameCache{seed: maphash.MakeSeed(), frames: make(map[uint64]cachedFrame)}
}

// get returns what packed unpacks to, nil if that is not cached, and its key.
func (c *FrameCache) get(packed []byte) (plain []byte, key uint64) {
	key = maphash.Bytes(c.seed, packed)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.frames[key].plain, key
}

// put caches a copy of plain. If the cache is full, it replaces the frame of the
// oldest block; a frame older than all cached ones is not cached, so a search
// through everything does not evict the newest.
func (c *FrameCache) put(key uint64, seq int64, plain []byte) {
	if len(plain) > 4*frameBytes {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.frames[key]; ok {
		return // another searcher was faster
	}
	for len(c.frames) >= maxCachedFrames || c.bytes+len(plain) > frameCacheBytes {
		oldest, at := seq, uint64(0)
		for k, f := range c.frames {
			if f.seq < oldest {
				oldest, at = f.seq, k
			}
		}
		if oldest == seq {
			return
		}
		c.bytes -= len(c.frames[at].plain)
		delete(c.frames, at)
	}
	c.bytes += len(plain)
	c.frames[key] = cachedFrame{append([]byte(nil), plain...), seq}
}
