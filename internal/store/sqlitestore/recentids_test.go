package sqlitestore

import (
	"math/rand/v2"
	"testing"
)

func TestIDWindow(t *testing.T) {
	w := newRecentEvents(1000)
	rng := rand.New(rand.NewPCG(1, 2))
	var all []uint64
	for i := range 10000 {
		h := rng.Uint64()
		all = append(all, h)
		w.add(hashedEvent{h, contentOfStoredSeq(int64(i))})
		for back := range 1000 {
			if back <= i && back%97 == 0 && w.find(all[i-back]) == nil {
				t.Fatalf("after id %d, the id %d before it is missing", i, back)
			}
		}
	}
	if seq, ok := w.find(all[9999]).storedSeq(); !ok || seq != 9999 {
		t.Errorf("the last id is stored under %d, %t", seq, ok)
	}
	if w.find(all[0]) != nil || w.find(all[7000]) != nil {
		t.Error("the window has more ids than its size")
	}
}
