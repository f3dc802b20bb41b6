package sigma

import "encoding/binary"

// A gramTable holds literals by one gram of each, which is width bytes long.
type gramTable struct {
	width    int // 1 to 4
	stride   int // a gram is looked up at every stride-th byte of the value
	least    int // length of the shortest literal
	mask     uint32
	nonASCII bool // all literals have a byte of 0x80 or more
	limit    int  // bytes of the value that are searched
	bitmap   []uint64
	bitShift uint
	slots    []gramSlot
	shift    uint
	entries  []entry
}

type gramSlot struct {
	key      uint32
	from, to int32
}

const gramPrime = 0x9E3779B1

// lowerCase is or-ed to every gram. It turns upper case into lower case, and
// some other bytes into others, so that a bitmap can be asked about a value
// that isn't folded.
const lowerCase = 0x20202020

func (t *gramTable) find(b []byte, visit finder) bool {
	if len(b) < t.least {
		return true
	}
	if t.limit < len(b) {
		return t.findIn(b, t.limit, visit)
	}
	return t.findIn(b, len(b), visit)
}

// findIn looks at the grams in b[:end], every literal whole in b.
func (t *gramTable) findIn(b []byte, end int, visit finder) bool {
	mask, shift, bitmap, stride := t.mask, t.bitShift, t.bitmap, t.stride
	i := 0
	for last := min(len(b)-4, end-t.width); i <= last; i += stride {
		gram := (binary.LittleEndian.Uint32(b[i:]) | lowerCase) & mask
		h := gram * gramPrime
		bit := h >> (shift & 31)
		if bitmap[bit>>6]&(1<<(bit&63)) != 0 && !t.look(b, i, gram, h, visit) {
			return false
		}
	}
	for ; i+t.width <= end; i += stride { // fewer than four bytes are left
		var gram uint32
		for k := range t.width {
			gram |= uint32(b[i+k]|0x20) << (8 * k)
		}
		if !t.look(b, i, gram, gram*gramPrime, visit) {
			return false
		}
	}
	return true
}

// mayFind reports whether find could find anything in s folded. It is false
// only for ASCII.
func (t *gramTable) mayFind(s string) bool {
	mask, shift, bitmap, stride := t.mask, t.bitShift, t.bitmap, t.stride
	seen := uint32(0)
	for i := 0; ; i += stride {
		over := i+4 > len(s)
		if over {
			i = len(s) - 4 // to have seen every byte
		}
		w := load32(s[i : i+4])
		seen |= w
		bit := ((w | lowerCase) & mask * gramPrime) >> (shift & 31)
		if bitmap[bit>>6]&(1<<(bit&63)) != 0 {
			return true
		}
		if over {
			return seen&0x80808080 != 0
		}
	}
}

func load32(s string) uint32 {
	_ = s[3]
	return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
}

// look compares the literals of a gram that stands at b[i:].
func (t *gramTable) look(b []byte, i int, gram, h uint32, visit finder) bool {
	mask := uint32(len(t.slots) - 1)
	for k := h >> t.shift; ; k = (k + 1) & mask {
		s := &t.slots[k]
		if s.from == s.to {
			return true
		}
		if s.key != gram {
			continue
		}
		entries := t.entries[s.from:s.to]
		for j := range entries {
			e := &entries[j]
			p := i - int(e.at)
			if p < 0 || p > 0 && e.how == prefix || p+len(e.text) > len(b) || string(b[p:p+len(e.text)]) != e.text {
				continue
			}
			if !visit.found(e) {
				return false
			}
		}
		return true
	}
}
