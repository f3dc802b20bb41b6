package literalindex

import "bytes"

// A Placement says where in a value a literal must be.
type Placement uint8

// The placements.
const (
	Equals Placement = iota
	Prefix
	Suffix
	Contains
)

// Match reports whether literal is in value where p says.
func (p Placement) Match(value, literal []byte) bool {
	switch p {
	case Equals:
		return bytes.Equal(value, literal)
	case Prefix:
		return bytes.HasPrefix(value, literal)
	case Suffix:
		return bytes.HasSuffix(value, literal)
	}
	return bytes.Contains(value, literal)
}

// An Literal is a literal and where in a value it must be.
type Literal struct {
	Placement Placement
	Text      []byte
	needle    needle // of Contains
}

// NewLiteral returns a literal.
func NewLiteral(p Placement, text string) Literal {
	l := Literal{Placement: p, Text: []byte(text)}
	l.needle = newRarestByteNeedle(l.Text)
	return l
}

// Match reports whether the literal is in value where it must be.
func (l *Literal) Match(value []byte) bool {
	if l.Placement == Contains {
		return l.needle.occursIn(value)
	}
	return l.Placement.Match(value, l.Text)
}

// A needle is a literal that is searched for by its rarest byte, which skips
// more of the text than its first byte does.
type needle struct {
	text []byte
	rare int // index of the rarest byte
}

// bytesByRarity lists the bytes of folded values, the most common last.
const bytesByRarity = "zq~^`{}[]@!#<>|+?*;&%$'\"jx()=kvwybfhugp2137485960mdcl,:nor_-stia\\./e "

func newRarestByteNeedle(text []byte) needle {
	n := needle{text: text}
	best := len(bytesByRarity)
	for i, c := range text {
		rank := bytes.IndexByte([]byte(bytesByRarity), c) // -1, the rarest, for all others
		if rank < best {
			n.rare, best = i, rank
		}
	}
	return n
}

// occursIn reports whether b contains the needle.
func (n *needle) occursIn(b []byte) bool {
	if len(n.text) == 0 {
		return true
	}
	c, after := n.text[n.rare], len(n.text)-n.rare
	from := n.rare // where to look for the byte
	for tries := 0; from+after <= len(b); tries++ {
		if tries == 64 { // the byte is not rare here
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
