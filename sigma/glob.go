package sigma

import (
	"bytes"
	"unicode/utf8"

	"github.com/picket-edr/picket/sigma/internal/pattern"
)

// A glob matches a whole value: its segments in order, with any number of runes
// between them.
type glob struct {
	segments []segment // between stars
	head     bool      // the first segment is at the start of the value
	tail     bool      // the last segment is at the end of the value
}

// A segment is a sequence of literals and question marks.
type segment []globPart

// A globPart is a literal or, if that is nil, a question mark.
type globPart struct{ literal []byte }

// newGlob compiles a canonical pattern.
func newGlob(p pattern.Pattern) *glob {
	g := &glob{head: true, tail: true}
	var seg segment
	for i, q := range p {
		if q.Kind != pattern.Star {
			if q.Kind == pattern.Question {
				seg = append(seg, globPart{})
			} else {
				seg = append(seg, globPart{[]byte(q.Text)})
			}
			continue
		}
		if i == 0 {
			g.head = false
		}
		if seg != nil {
			g.segments = append(g.segments, seg)
			seg = nil
		}
		g.tail = i < len(p)-1
	}
	if seg != nil {
		g.segments = append(g.segments, seg)
	}
	return g
}

// match reports whether the glob matches all of b.
func (g *glob) match(b []byte) bool {
	segs := g.segments
	if g.head && len(segs) > 0 {
		n := segs[0].prefixMatchBytes(b)
		if n < 0 {
			return false
		}
		if len(segs) == 1 && g.tail {
			return n == len(b)
		}
		b, segs = b[n:], segs[1:]
	}
	if g.tail && len(segs) > 0 {
		n := segs[len(segs)-1].suffixMatchBytes(b)
		if n < 0 {
			return false
		}
		b, segs = b[:len(b)-n], segs[:len(segs)-1]
	}
	for _, seg := range segs {
		end := seg.firstMatchEnd(b)
		if end < 0 {
			return false
		}
		b = b[end:]
	}
	return true
}

// prefixMatchBytes returns how many bytes at the start of b the segment matches, or -1.
func (s segment) prefixMatchBytes(b []byte) int {
	at := 0
	for _, q := range s {
		if q.literal != nil {
			if !bytes.HasPrefix(b[at:], q.literal) {
				return -1
			}
			at += len(q.literal)
			continue
		}
		_, n := utf8.DecodeRune(b[at:])
		if n == 0 {
			return -1
		}
		at += n
	}
	return at
}

// suffixMatchBytes returns how many bytes at the end of b the segment matches, or -1.
func (s segment) suffixMatchBytes(b []byte) int {
	at := len(b)
	for i := len(s) - 1; i >= 0; i-- {
		if lit := s[i].literal; lit != nil {
			if !bytes.HasSuffix(b[:at], lit) {
				return -1
			}
			at -= len(lit)
			continue
		}
		_, n := utf8.DecodeLastRune(b[:at])
		if n == 0 {
			return -1
		}
		at -= n
	}
	return len(b) - at
}

// firstMatchEnd returns the end of the first match of the segment in b, or -1. The
// first match leaves the most for the segments after it.
func (s segment) firstMatchEnd(b []byte) (end int) {
	for from := 0; from <= len(b); {
		if s[0].literal != nil {
			i := bytes.Index(b[from:], s[0].literal)
			if i < 0 {
				return -1
			}
			from += i
		}
		if n := s.prefixMatchBytes(b[from:]); n >= 0 {
			return from + n
		}
		_, n := utf8.DecodeRune(b[from:])
		from += max(n, 1)
	}
	return -1
}
