package sigma

import "bytes"

// A needle is a literal that is searched for by its rarest byte, which finds
// places to compare faster than its first one does.
type needle struct {
	text []byte
	rare int // where the rarest byte is
}

// common are the bytes of folded values, those that are everywhere last.
const common = "zq~^`{}[]@!#<>|+?*;&%$'\"jx()=kvwybfhugp2137485960mdcl,:nor_-stia\\./e "

func newNeedle(text []byte) needle {
	n := needle{text: text}
	best := len(common)
	for i, c := range text {
		rank := bytes.IndexByte([]byte(common), c) // -1, the rarest, for all others
		if rank < best {
			n.rare, best = i, rank
		}
	}
	return n
}

// in reports whether the needle stands in b.
func (n *needle) in(b []byte) bool {
	if len(n.text) == 0 {
		return true
	}
	c, after := n.text[n.rare], len(n.text)-n.rare
	from := n.rare // where to look for the byte
	for tries := 0; from+after <= len(b); tries++ {
		if tries == 64 { // not so rare here
			return bytes.Contains(b[from-n.rare:], n.text)
		}
		i := bytes.IndexByte(b[from:len(b)-after+1], c)
		if i < 0 {
			return false
		}
		from += i
		if start := from - n.rare; string(b[start:start+len(n.text)]) == string(n.text) {
			return true
		}
		from++
	}
	return false
}
