package sqlitestore

import (
	"sync"

	"github.com/picket-edr/picket/internal/store"
)

// A searchAheadBudget bounds what a search finds in blocks whose turn has not come: all of
// them together hold as much as a page. The block whose hits are next never waits, so
// the others get their turn.
type searchAheadBudget struct {
	mu      sync.Mutex
	changed sync.Cond
	turn    int // the block whose hits are next on the page
	held    int // bytes of hits that are not on the page yet
	end     bool
}

func newSearchAheadBudget() *searchAheadBudget {
	a := &searchAheadBudget{}
	a.changed.L = &a.mu
	return a
}

// waitToHold waits until a block may hold more bytes. It returns false once no more
// hits are needed.
func (a *searchAheadBudget) waitToHold(block, bytes int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for !a.end && block != a.turn && a.held+bytes > store.MaxPageBytes {
		a.changed.Wait()
	}
	a.held += bytes
	return !a.end
}

// turnToNextBlock makes the hits of the next block the next on the page, to which those of
// the one before were added.
func (a *searchAheadBudget) turnToNextBlock(addedBytes int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.turn++
	a.held -= addedBytes
	a.changed.Broadcast()
}

// cancel says that no more hits are needed.
func (a *searchAheadBudget) cancel() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.end = true
	a.changed.Broadcast()
}

func (a *searchAheadBudget) canceled() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.end
}
