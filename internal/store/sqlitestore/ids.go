package sqlitestore

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// How the ids of a block are kept. Random ids don't compress, but most senders
// write them as hex digits, at half the density.
const (
	idsAny  = 0 // packed strings
	idsHex  = 1 // all are the same even number of lower-case hex digits
	idsUUID = 2 // all are lower-case UUIDs
)

const uuidLen = 36

func encodeIDs(ids []string) []byte {
	dst := binary.AppendUvarint(nil, uint64(len(ids)))
	if len(ids) == 0 {
		return append(dst, idsAny, packedPlain)
	}
	size := len(ids[0])
	allHex, allUUID := size%2 == 0 && size > 0, size == uuidLen
	for _, id := range ids {
		allHex = allHex && len(id) == size && isHex(id)
		allUUID = allUUID && isUUID(id)
		if !allHex && !allUUID {
			break
		}
	}
	switch {
	case allHex:
		dst = append(dst, idsHex)
		dst = binary.AppendUvarint(dst, uint64(size/2))
		for _, id := range ids {
			dst = appendUnhex(dst, id)
		}
	case allUUID:
		dst = append(dst, idsUUID)
		for _, id := range ids {
			dst = appendUnhex(dst, id[:8]+id[9:13]+id[14:18]+id[19:23]+id[24:])
		}
	default:
		dst = append(dst, idsAny)
		dst = pack(dst, appendStrings(nil, ids))
	}
	return dst
}

// An IDList is the ids of a block. Those of hex digits are read one at a time.
type IDList struct {
	n      int
	texts  []string // idsAny
	binary []byte   // else
	size   int      // bytes of packed for each id
	uuid   bool
}

func DecodeIDs(b []byte) (IDList, error) {
	c := byteReader{b: b}
	l := IDList{n: int(c.uvarint())}
	switch c.byte() {
	case idsAny:
		plain, err := unpack(nil, c.b)
		if err != nil {
			return l, fmt.Errorf("read ids: %w", err)
		}
		c.b = plain
		l.texts = c.strings(l.n)
	case idsHex:
		l.size = int(c.uvarint())
		l.binary = c.b
	case idsUUID:
		l.size, l.uuid = 16, true
		l.binary = c.b
	default:
		return l, ErrCorrupt
	}
	if c.err == nil && l.texts == nil && (l.size <= 0 || l.n < 0 || len(l.binary)%l.size != 0 || len(l.binary)/l.size != l.n) {
		c.fail()
	}
	return l, c.err
}

// AppendTo appends the id of an event to dst.
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

func isHex(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; !('0' <= c && c <= '9' || 'a' <= c && c <= 'f') {
			return false
		}
	}
	return true
}

func isUUID(s string) bool {
	return len(s) == uuidLen && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' &&
		isHex(s[:8]) && isHex(s[9:13]) && isHex(s[14:18]) && isHex(s[19:23]) && isHex(s[24:])
}

func appendUnhex(dst []byte, s string) []byte {
	for i := 0; i+1 < len(s); i += 2 {
		dst = append(dst, unhex(s[i])<<4|unhex(s[i+1]))
	}
	return dst
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c - 'a' + 10
}

// idHash is the hash of an id in the filters on disk. It must never change.
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

// An id filter is a Bloom filter of ten bits an id and seven hashes: it lets
// one in a hundred blocks through that does not have the id.
const (
	idFilterBits   = 10
	idFilterHashes = 7
)

func encodeIDFilter(ids []string) []byte {
	bits := make([]byte, max(1, (len(ids)*idFilterBits+7)/8))
	for _, id := range ids {
		eachIDBit(idHash(id), len(bits), func(i uint64) bool {
			bits[i/8] |= 1 << (i % 8)
			return true
		})
	}
	return bits
}

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
