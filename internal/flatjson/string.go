package flatjson

import (
	"encoding/binary"
	"unicode/utf8"
	"unsafe"

	"github.com/picket-edr/picket/internal/jsonescape"
)

const (
	oneInEachByte     = 0x0101010101010101
	highBitOfEachByte = 0x8080808080808080
)

// markSpecialBytes sets the high bit of each byte of w that ends a plain run: a
// quote, a backslash, a control character, or one outside ASCII. A borrow can
// set a bit above a true one, never below, and only the lowest is used.
func markSpecialBytes(w uint64) uint64 {
	quote := w ^ (oneInEachByte * '"')
	slash := w ^ (oneInEachByte * '\\')
	return ((quote-oneInEachByte)&^quote | (slash-oneInEachByte)&^slash | (w-oneInEachByte*0x20)&^w | w) & highBitOfEachByte
}

// string reads the string that starts at d.at and returns its value, which
// aliases the event, or the arena where it had escapes.
func (d *Decoder) string() (string, error) {
	start := d.at + 1
	i, ascii := start, true
	b := unsafe.Slice(unsafe.StringData(d.s), len(d.s))
	for {
		for i+8 <= len(b) && markSpecialBytes(binary.LittleEndian.Uint64(b[i:])) == 0 {
			i += 8
		}
		for i < len(b) && b[i] >= 0x20 && b[i] < 0x80 && b[i] != '"' && b[i] != '\\' {
			i++
		}
		switch {
		case i == len(b):
			d.at = i
			return "", d.fail("the event ends inside a string")
		case b[i] == '"':
			s := d.s[start:i]
			if !ascii && !utf8.ValidString(s) {
				d.at = start
				return "", d.fail("invalid UTF-8 in a string")
			}
			d.at = i + 1
			return s, nil
		case b[i] == '\\':
			if !ascii && !utf8.ValidString(d.s[start:i]) {
				d.at = start
				return "", d.fail("invalid UTF-8 in a string")
			}
			return d.readEscapedString(start, i)
		case b[i] < 0x20:
			d.at = i
			return "", d.fail("control character in a string")
		default:
			ascii = false
			i++
		}
	}
}

// arenaChunkBytes is how much the arena grows by. Chunks are never used again: the
// garbage collector frees one when the last event with a value in it is gone.
// A value of more than maxArenaValueBytes that does not fit is its own array.
const (
	arenaChunkBytes    = 32 << 10
	maxArenaValueBytes = arenaChunkBytes / 4
)

// readEscapedString reads the rest of the string that begins at start, from its first
// backslash on.
func (d *Decoder) readEscapedString(start, firstEscape int) (string, error) {
	base, inArena := len(d.arena), true
	out := d.arena
	if need := firstEscape - start + utf8.UTFMax; cap(out)-base < need {
		out, base, inArena = d.growStringBuffer(nil, start)
	}
	out = append(out, d.s[start:firstEscape]...)
	ascii := true
	b := unsafe.Slice(unsafe.StringData(d.s), len(d.s))
	i := firstEscape
	for {
		run := i
		for {
			for i+8 <= len(b) && markSpecialBytes(binary.LittleEndian.Uint64(b[i:])) == 0 {
				i += 8
			}
			for i < len(b) && b[i] >= 0x20 && b[i] < 0x80 && b[i] != '"' && b[i] != '\\' {
				i++
			}
			if i == len(b) || b[i] < 0x80 {
				break
			}
			ascii = false
			i++
		}
		if cap(out)-len(out) < i-run+utf8.UTFMax {
			out, base, inArena = d.growStringBuffer(out[base:], run)
		}
		out = append(out, b[run:i]...)
		switch {
		case i == len(b):
			d.at = i
			return "", d.fail("the event ends inside a string")
		case b[i] == '"':
			d.at = i + 1
			s := unsafe.String(unsafe.SliceData(out[base:]), len(out)-base)
			if !ascii && !utf8.ValidString(s) {
				d.at = start
				return "", d.fail("invalid UTF-8 in a string")
			}
			if inArena {
				d.arena = out
			}
			return s, nil
		case b[i] != '\\':
			d.at = i
			return "", d.fail("control character in a string")
		}
		if i+1 < len(b) && jsonescape.ShortEscapes[b[i+1]] != 0 {
			out = append(out, jsonescape.ShortEscapes[b[i+1]])
			i += 2
			continue
		}
		r, n := jsonescape.Decode(d.s[i:])
		if n == 0 {
			d.at = i
			return "", d.fail("malformed escape")
		}
		out = utf8.AppendRune(out, r)
		i += n
	}
}

// growStringBuffer returns a buffer with the decoded start of a string, at base, and with
// room for the rest of it, which is at most as long as what the event has from restStart to
// the closing quote. So that long strings are not copied again and again, it looks for that.
func (d *Decoder) growStringBuffer(decoded []byte, restStart int) (buf []byte, base int, inArena bool) {
	end := restStart
	for end < len(d.s) && d.s[end] != '"' {
		if d.s[end] == '\\' {
			end++
		}
		end++
	}
	size := len(decoded) + min(end, len(d.s)) - restStart + 2*utf8.UTFMax
	if inArena = size <= maxArenaValueBytes; inArena {
		size = arenaChunkBytes
	}
	return append(make([]byte, 0, size), decoded...), 0, inArena
}
