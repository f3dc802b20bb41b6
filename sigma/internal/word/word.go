// Package word reads and hashes short words of strings, for the engine's hash
// tables with open addressing.
package word

import "math/bits"

// HashMultiplier32 and HashMultiplier64 are the multipliers of multiplicative (Fibonacci)
// hashing: the hash of a word is its product with the multiplier, of which the
// upper bits index a table.
const (
	HashMultiplier32 = 0x9E3779B1
	HashMultiplier64 = 0x9E3779B97F4A7C15
)

// Load32 returns the first four bytes of s as a little-endian number. The
// compiler makes one load of it.
func Load32(s string) uint32 {
	_ = s[3]
	return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
}

// Load64 returns the first eight bytes of s as a little-endian number.
func Load64(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// TableSize returns the size of a table for minEntries, a power of two, and
// the shift that reduces a hash of hashBits to an index.
func TableSize(minEntries, hashBits int) (size int, shift uint) {
	log := max(bits.Len(uint(minEntries-1)), 3)
	return 1 << log, uint(hashBits - log)
}
