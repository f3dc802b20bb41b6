package block

// idHash is the hash of an id in filters. It is part of the format.
func idHash(id string) uint64 {
	h := uint64(14695981039346656037) // FNV-1a, then a finalizer for its weak high bits
	for i := 0; i < len(id); i++ {
		h = (h ^ uint64(id[i])) * 1099511628211
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// An id filter is a Bloom filter with ten bits an id and seven hashes: of the
// blocks that do not have an id, one in a hundred passes.
const (
	idFilterBitsPerID = 10
	idFilterHashes    = 7
)

func encodeIDFilter(ids []string) []byte {
	bits := make([]byte, max(1, (len(ids)*idFilterBitsPerID+7)/8))
	for _, id := range ids {
		eachIDBit(idHash(id), len(bits), func(i uint64) bool {
			bits[i/8] |= 1 << (i % 8)
			return true
		})
	}
	return bits
}

// idFilterMayHave reports whether the id of a hash may be in the block.
func idFilterMayHave(filter []byte, hash uint64) bool {
	if len(filter) == 0 {
		return true
	}
	found := true
	eachIDBit(hash, len(filter), func(i uint64) bool {
		found = filter[i/8]&(1<<(i%8)) != 0
		return found
	})
	return found
}

func eachIDBit(hash uint64, size int, f func(uint64) bool) {
	m := uint64(size) * 8
	step := hash>>32 | 1
	for range idFilterHashes {
		if !f(hash % m) {
			return
		}
		hash += step
	}
}
