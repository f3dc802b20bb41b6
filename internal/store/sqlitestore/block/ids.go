package block

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// How the ids of a block are kept, after their number. Random ids do not
// compress, but most are written in hex digits, which take twice their size.
const (
	idEncodingText = 0 // packed strings
	idEncodingHex  = 1 // all are the same even number of lower-case hex digits
	idEncodingUUID = 2 // all are lower-case UUIDs
)

const uuidTextBytes = 36

func encodeIDs(ids []string) []byte {
	dst := binary.AppendUvarint(nil, uint64(len(ids)))
	if len(ids) == 0 {
		return append(dst, idEncodingText, packedPlain)
	}
	size := len(ids[0])
	allHex, allUUID := size%2 == 0 && size > 0, size == uuidTextBytes
	for _, id := range ids {
		allHex = allHex && len(id) == size && isLowerHex(id)
		allUUID = allUUID && isLowerUUID(id)
		if !allHex && !allUUID {
			break
		}
	}
	switch {
	case allHex:
		dst = append(dst, idEncodingHex)
		dst = binary.AppendUvarint(dst, uint64(size/2))
		for _, id := range ids {
			dst = appendUnhex(dst, id)
		}
	case allUUID:
		dst = append(dst, idEncodingUUID)
		for _, id := range ids {
			dst = appendUnhex(dst, id[:8]+id[9:13]+id[14:18]+id[19:23]+id[24:])
		}
	default:
		dst = append(dst, idEncodingText)
		dst = compressOrCopy(dst, appendLengthsAndBytes(nil, ids))
	}
	return dst
}

// An IDList is the ids of a block, by row.
type IDList struct {
	n      int
	texts  []string // idEncodingText
	binary []byte   // idEncodingHex and idEncodingUUID: the ids as bytes
	size   int      // of an id in binary
	uuid   bool
}

// DecodeIDs reads the part PartIDs.
func DecodeIDs(b []byte) (IDList, error) {
	r := byteReader{b: b}
	l := IDList{n: int(r.readUvarint())}
	switch r.readByte() {
	case idEncodingText:
		plain, err := decompressPacked(nil, r.b)
		if err != nil {
			return l, fmt.Errorf("read ids: %w", err)
		}
		r.b = plain
		l.texts = r.readStrings(l.n)
	case idEncodingHex:
		l.size = int(r.readUvarint())
		l.binary = r.b
	case idEncodingUUID:
		l.size, l.uuid = 16, true
		l.binary = r.b
	default:
		return l, ErrCorrupt
	}
	if r.err == nil && l.texts == nil && (l.size <= 0 || l.n < 0 || len(l.binary)%l.size != 0 || len(l.binary)/l.size != l.n) {
		r.setCorrupt()
	}
	return l, r.err
}

// Len returns the number of ids.
func (l *IDList) Len() int { return l.n }

// AppendTo appends the id of a row to dst.
func (l *IDList) AppendTo(dst []byte, row int) []byte {
	if l.binary == nil {
		return append(dst, l.texts[row]...)
	}
	b := l.binary[row*l.size : (row+1)*l.size]
	if l.uuid {
		return appendUUID(dst, b)
	}
	return hex.AppendEncode(dst, b)
}

// At returns the id of a row.
func (l *IDList) At(row int) string {
	if l.binary == nil {
		return l.texts[row]
	}
	return string(l.AppendTo(make([]byte, 0, 64), row))
}

func appendUUID(dst, b []byte) []byte {
	dst = hex.AppendEncode(dst, b[:4])
	dst = hex.AppendEncode(append(dst, '-'), b[4:6])
	dst = hex.AppendEncode(append(dst, '-'), b[6:8])
	dst = hex.AppendEncode(append(dst, '-'), b[8:10])
	return hex.AppendEncode(append(dst, '-'), b[10:16])
}

func isLowerHex(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; !('0' <= c && c <= '9' || 'a' <= c && c <= 'f') {
			return false
		}
	}
	return true
}

func isLowerUUID(s string) bool {
	return len(s) == uuidTextBytes && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' &&
		isLowerHex(s[:8]) && isLowerHex(s[9:13]) && isLowerHex(s[14:18]) && isLowerHex(s[19:23]) && isLowerHex(s[24:])
}

func appendUnhex(dst []byte, s string) []byte {
	for i := 0; i+1 < len(s); i += 2 {
		dst = append(dst, hexDigitValue(s[i])<<4|hexDigitValue(s[i+1]))
	}
	return dst
}

func hexDigitValue(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c - 'a' + 10
}
