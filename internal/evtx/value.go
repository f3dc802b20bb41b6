package evtx

import (
	"encoding/binary"
	"iter"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// The types of values. The flag 0x80 means an array of them.
const (
	kindNull       = 0x00
	kindUTF16      = 0x01
	kindANSI       = 0x02
	kindInt8       = 0x03
	kindUint8      = 0x04
	kindInt16      = 0x05
	kindUint16     = 0x06
	kindInt32      = 0x07
	kindUint32     = 0x08
	kindInt64      = 0x09
	kindUint64     = 0x0a
	kindFloat      = 0x0b
	kindDouble     = 0x0c
	kindBool       = 0x0d
	kindBinary     = 0x0e
	kindGUID       = 0x0f
	kindSizeT      = 0x10
	kindFiletime   = 0x11
	kindSystemtime = 0x12
	kindSID        = 0x13
	kindHex32      = 0x14
	kindHex64      = 0x15
	kindXML        = 0x21
	kindArrayFlag  = 0x80
)

// fixedBytes is the size of the values of a kind, 0 if it varies.
var fixedBytes = [256]int{
	kindInt8: 1, kindUint8: 1, kindInt16: 2, kindUint16: 2, kindInt32: 4, kindUint32: 4, kindInt64: 8, kindUint64: 8,
	kindFloat: 4, kindDouble: 8, kindBool: 4, kindGUID: 16, kindFiletime: 8, kindSystemtime: 16, kindHex32: 4, kindHex64: 8,
}

// unquotedKinds are the kinds whose values are no strings in JSON.
var unquotedKinds = [256]bool{
	kindInt8: true, kindUint8: true, kindInt16: true, kindUint16: true, kindInt32: true, kindUint32: true, kindInt64: true,
	kindUint64: true, kindFloat: true, kindDouble: true, kindBool: true,
}

// A rawValue is the type and the bytes of a substitution.
type rawValue struct {
	kind byte
	data []byte
}

// items yields the values of an array.
func (v rawValue) items() iter.Seq[rawValue] {
	kind := v.kind &^ kindArrayFlag
	return func(yield func(rawValue) bool) {
		if kind == kindUTF16 {
			yieldStrings(v.data, yield)
			return
		}
		size := fixedBytes[kind]
		for rest := v.data; size > 0 && len(rest) >= size; rest = rest[size:] {
			if !yield(rawValue{kind, rest[:size]}) {
				return
			}
		}
	}
}

// yieldStrings yields the strings of an array, each of which ends with a NUL, but perhaps
// the last.
func yieldStrings(utf16le []byte, yield func(rawValue) bool) {
	start := 0
	for i := 0; i+1 < len(utf16le); i += 2 {
		if utf16le[i] == 0 && utf16le[i+1] == 0 {
			if !yield(rawValue{kindUTF16, utf16le[start:i]}) {
				return
			}
			start = i + 2
		}
	}
	if start < len(utf16le) || start == 0 {
		yield(rawValue{kindUTF16, utf16le[start:]})
	}
}

// appendTo appends the text of a value that is no array, escaped for JSON.
func (v rawValue) appendTo(dst []byte) []byte {
	d := v.data
	if len(d) < fixedBytes[v.kind] {
		return dst
	}
	le := binary.LittleEndian
	switch v.kind {
	case kindUTF16:
		for len(d) >= 2 && d[len(d)-2] == 0 && d[len(d)-1] == 0 {
			d = d[:len(d)-2]
		}
		return appendUTF16(dst, d)
	case kindANSI:
		return appendUTF8(dst, strings.ToValidUTF8(strings.TrimRight(string(d), "\x00"), "\ufffd"))
	case kindInt8:
		return strconv.AppendInt(dst, int64(int8(d[0])), 10)
	case kindUint8:
		return strconv.AppendUint(dst, uint64(d[0]), 10)
	case kindInt16:
		return strconv.AppendInt(dst, int64(int16(le.Uint16(d))), 10)
	case kindUint16:
		return strconv.AppendUint(dst, uint64(le.Uint16(d)), 10)
	case kindInt32:
		return strconv.AppendInt(dst, int64(int32(le.Uint32(d))), 10)
	case kindUint32:
		return strconv.AppendUint(dst, uint64(le.Uint32(d)), 10)
	case kindInt64:
		return strconv.AppendInt(dst, int64(le.Uint64(d)), 10)
	case kindUint64:
		return strconv.AppendUint(dst, le.Uint64(d), 10)
	case kindFloat, kindDouble:
		return strconv.AppendFloat(dst, v.float(), 'g', -1, 64)
	case kindBool:
		return strconv.AppendBool(dst, le.Uint32(d) != 0)
	case kindBinary:
		return appendHex(dst, d)
	case kindGUID:
		return appendGUID(dst, d)
	case kindSizeT, kindHex32, kindHex64:
		if len(d) >= 8 {
			return strconv.AppendUint(append(dst, "0x"...), le.Uint64(d), 16)
		} else if len(d) >= 4 {
			return strconv.AppendUint(append(dst, "0x"...), uint64(le.Uint32(d)), 16)
		}
	case kindFiletime:
		return timeOfFiletime(le.Uint64(d)).AppendFormat(dst, timeLayout)
	case kindSystemtime:
		u := func(i int) int { return int(le.Uint16(d[2*i:])) }
		return time.Date(u(0), time.Month(u(1)), u(3), u(4), u(5), u(6), u(7)*1e6, time.UTC).AppendFormat(dst, timeLayout)
	case kindSID:
		return appendSID(dst, d)
	}
	return dst
}

const timeLayout = "2006-01-02T15:04:05.000000Z"

// isQuoted reports whether a value is a string in JSON, which has no infinite numbers.
func (v rawValue) isQuoted() bool {
	if !unquotedKinds[v.kind] || len(v.data) < fixedBytes[v.kind] {
		return true
	}
	return (v.kind == kindFloat || v.kind == kindDouble) && (math.IsNaN(v.float()) || math.IsInf(v.float(), 0))
}

func (v rawValue) float() float64 {
	if v.kind == kindFloat {
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(v.data)))
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(v.data))
}

// appendUTF16 appends UTF-16 in little endian, escaped for JSON.
func appendUTF16(dst, utf16le []byte) []byte {
	for i := 0; i+1 < len(utf16le); i += 2 {
		c := rune(utf16le[i]) | rune(utf16le[i+1])<<8
		if utf16.IsSurrogate(c) {
			next := rune(-1)
			if i+3 < len(utf16le) {
				next = rune(utf16le[i+2]) | rune(utf16le[i+3])<<8
			}
			if c = utf16.DecodeRune(c, next); c != utf8.RuneError {
				i += 2
			}
		}
		if ' ' <= c && c < utf8.RuneSelf && c != '"' && c != '\\' {
			dst = append(dst, byte(c))
			continue
		}
		dst = appendEscaped(dst, c)
	}
	return dst
}

// appendUTF8 appends valid UTF-8, escaped for JSON.
func appendUTF8(dst []byte, s string) []byte {
	for _, c := range s {
		dst = appendEscaped(dst, c)
	}
	return dst
}

// appendEscaped appends a character, escaped for JSON.
func appendEscaped(dst []byte, c rune) []byte {
	switch {
	case c == '"' || c == '\\':
		return append(dst, '\\', byte(c))
	case c == '\n':
		return append(dst, '\\', 'n')
	case c == '\r':
		return append(dst, '\\', 'r')
	case c == '\t':
		return append(dst, '\\', 't')
	case c < ' ':
		return append(dst, '\\', 'u', '0', '0', '0'+byte(c>>4), hexDigits[c&15]|0x20)
	}
	return utf8.AppendRune(dst, c)
}

const hexDigits = "0123456789ABCDEF"

func appendHex(dst, b []byte) []byte {
	for _, c := range b {
		dst = append(dst, hexDigits[c>>4], hexDigits[c&15])
	}
	return dst
}

// appendGUID appends a GUID, whose first three parts are little endian.
func appendGUID(dst, g []byte) []byte {
	dst = append(appendHex(dst, []byte{g[3], g[2], g[1], g[0]}), '-')
	dst = append(appendHex(dst, []byte{g[5], g[4]}), '-')
	dst = append(appendHex(dst, []byte{g[7], g[6]}), '-')
	dst = append(appendHex(dst, g[8:10]), '-')
	return appendHex(dst, g[10:16])
}

// appendSID appends a security identifier, nothing if it is malformed.
func appendSID(dst, sid []byte) []byte {
	if len(sid) < 8 || len(sid) < 8+4*int(sid[1]) {
		return dst
	}
	authority := uint64(0)
	for _, b := range sid[2:8] {
		authority = authority<<8 | uint64(b)
	}
	dst = strconv.AppendUint(append(dst, "S-"...), uint64(sid[0]), 10)
	dst = strconv.AppendUint(append(dst, '-'), authority, 10)
	for i := range int(sid[1]) {
		dst = strconv.AppendUint(append(dst, '-'), uint64(binary.LittleEndian.Uint32(sid[8+4*i:])), 10)
	}
	return dst
}
