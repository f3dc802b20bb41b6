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
	byName  map[namedValue][]int32
}

type namedValue struct {
	name  string
	value sigma.Value
}

// fewLeaves is how many leaves are searched one by one, which is faster for few.
const fewLeaves = 256

// Reset makes x the index of leaves.
func (x *LeafIndex) Reset(leaves []Leaf) { *x = LeafIndex{leaves: leaves} }

// Find returns the position of the first leaf at or after from that has a value, or
// the first of those before from, or -1.
func (x *LeafIndex) Find(from int, v sigma.Value) int {
	if len(x.leaves) > fewLeaves {
		x.build()
		return firstFrom(x.byValue[v], from)
	}
	for i := from; i < len(x.leaves); i++ {
		if x.leaves[i].Value == v {
			return i
		}
	}
	for i := range min(from, len(x.leaves)) {
		if x.leaves[i].Value == v {
			return i
		}
	}
	return -1
}

// FindNamed is Find for leaves with a name too.
func (x *LeafIndex) FindNamed(from int, name string, v sigma.Value) int {
	if len(x.leaves) > fewLeaves {
		x.build()
		return firstFrom(x.byName[namedValue{name, v}], from)
	}
	for k := range x.leaves {
		i := (from + k) % len(x.leaves)
		if x.leaves[i].Value == v && x.leaves[i].Path.Name == name {
			return i
		}
	}
	return -1
}

func (x *LeafIndex) build() {
	if x.byValue != nil {
		return
	}
	x.byValue, x.byName = make(map[sigma.Value][]int32), make(map[namedValue][]int32)
	for i := range x.leaves {
		l := &x.leaves[i]
		x.byValue[l.Value] = append(x.byValue[l.Value], int32(i))
		key := namedValue{l.Path.Name, l.Value}
		x.byName[key] = append(x.byName[key], int32(i))
	}
}

// firstFrom returns the first position at or after from, or else the first, or -1.
func firstFrom(positions []int32, from int) int {
	if len(positions) == 0 {
		return -1
	}
	i := sort.Search(len(positions), func(i int) bool { return int(positions[i]) >= from })
	if i == len(positions) {
		i = 0
	}
	return int(positions[i])
}
