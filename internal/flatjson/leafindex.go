package flatjson

import (
	"sort"

	"github.com/picket-edr/picket/sigma"
)

// A LeafIndex finds leaves of an event by their value, in little time also in events
// of very many leaves. It is for one goroutine.
type LeafIndex struct {
	leaves  []Leaf
	byValue map[sigma.Value][]int32 // positions, ascending; nil until needed
	byName  map[nameValueKey][]int32
}

type nameValueKey struct {
	name  string
	value sigma.Value
}

// maxLinearSearchLeaves is up to how many leaves are searched one by one, which is faster.
const maxLinearSearchLeaves = 256

// Reset makes x the index of leaves.
func (x *LeafIndex) Reset(leaves []Leaf) { *x = LeafIndex{leaves: leaves} }

// FindWrapping returns the position of the first leaf at or after start that has a value,
// or the first of those before start, or -1.
func (x *LeafIndex) FindWrapping(start int, v sigma.Value) (position int) {
	if len(x.leaves) > maxLinearSearchLeaves {
		x.buildMapsOnce()
		return firstFromWrapping(x.byValue[v], start)
	}
	for i := start; i < len(x.leaves); i++ {
		if x.leaves[i].Value == v {
			return i
		}
	}
	for i := range min(start, len(x.leaves)) {
		if x.leaves[i].Value == v {
			return i
		}
	}
	return -1
}

// FindNamedWrapping is FindWrapping for leaves with a name too.
func (x *LeafIndex) FindNamedWrapping(start int, name string, v sigma.Value) (position int) {
	if len(x.leaves) > maxLinearSearchLeaves {
		x.buildMapsOnce()
		return firstFromWrapping(x.byName[nameValueKey{name, v}], start)
	}
	for k := range x.leaves {
		i := (start + k) % len(x.leaves)
		if x.leaves[i].Value == v && x.leaves[i].Path.Name == name {
			return i
		}
	}
	return -1
}

func (x *LeafIndex) buildMapsOnce() {
	if x.byValue != nil {
		return
	}
	x.byValue, x.byName = make(map[sigma.Value][]int32), make(map[nameValueKey][]int32)
	for i := range x.leaves {
		l := &x.leaves[i]
		x.byValue[l.Value] = append(x.byValue[l.Value], int32(i))
		key := nameValueKey{l.Path.Name, l.Value}
		x.byName[key] = append(x.byName[key], int32(i))
	}
}

// firstFromWrapping returns the first position at or after start, or else the first, or -1.
func firstFromWrapping(positions []int32, start int) (position int) {
	if len(positions) == 0 {
		return -1
	}
	i := sort.Search(len(positions), func(i int) bool { return int(positions[i]) >= start })
	if i == len(positions) {
		i = 0
	}
	return int(positions[i])
}
