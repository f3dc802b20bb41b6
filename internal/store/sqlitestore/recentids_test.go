package sqlitestore

import (
	"math/rand/v2"
	"testing"
)

func TestIDWindow(t *testing.T) {
	w := newIDWindow(1000)
	rng := rand.New(rand.NewPCG(1, 2))
	var all []uint64
	for i := range 10000 {
		h := rng.Uint64()
		all = append(all, h)
		w.add(h)
		for back := range 1000 {
			if back <= i && back%97 == 0 && !w.has(all[i-back]) {
				t.Fatalf("after id %d, the id %d before it is missing", i, back)
			}
		}
	}
	if w.has(all[0]) || w.has(all[7000]) {
		t.Error("the window has more ids than its size")
	}
}
