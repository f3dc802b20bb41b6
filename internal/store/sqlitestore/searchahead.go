package sqlitestore

import (
	"sync"

	"github.com/picket-edr/picket/internal/store"
)

// searchAhead bounds what a search finds in blocks whose turn has not come: all of
// them together hold as much as a page. The block whose hits are next never waits, so
// the others get their turn.
type searchAhead struct {
	mu      sync.Mutex
	changed sync.Cond
	turn    int // the block whose hits are next on the page
	held    int // bytes of hits that are not on the page yet
	end     bool
}

func newSearchAhead() *searchAhead {
	a := &searchAhead{}
	a.changed.L = &a.mu
	return a
}

// waitToHold waits until block i may hold size more bytes. It returns false once no more
// hits are needed.
func (a *searchAhead) waitToHold(i, size int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for !a.end && i != a.turn && a.held+size > store.MaxPageBytes {
		a.changed.Wait()
	}
	a.held += size
	return !a.end
}

// passTurn gives the turn to the next block, after the bytes of the one before were
// added to the page.
func (a *searchAhead) passTurn(bytes int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.turn++
	a.held -= bytes
	a.changed.Broadcast()
}

// stop says that no more hits are needed.
func (a *searchAhead) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.end = true
	a.changed.Broadcast()
}

func (a *searchAhead) stopped() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.end
}
