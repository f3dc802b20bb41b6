package sqlitefile

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

// trailerBytes is the size of a page's trailer: the page's CRC-32C, then its CRC-32,
// little endian. Both begin with the page's number, so that a page that was written to
// the wrong place is noticed.
const trailerBytes = 8

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// pageChecksums returns the CRC-32C and the CRC-32 of a page without its trailer.
func pageChecksums(number int64, content []byte) (c, i uint32) {
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], uint64(number))
	return crc32.Update(crc32.Checksum(n[:], castagnoli), castagnoli, content),
		crc32.Update(crc32.ChecksumIEEE(n[:]), crc32.IEEETable, content)
}

// SetChecksum writes the trailer of a page.
func SetChecksum(number int64, page []byte) {
	content, trailer := splitTrailer(page)
	c, i := pageChecksums(number, content)
	binary.LittleEndian.PutUint32(trailer, c)
	binary.LittleEndian.PutUint32(trailer[4:], i)
}

func splitTrailer(page []byte) (content, trailer []byte) {
	n := len(page) - trailerBytes
	return page[:n], page[n:]
}

// A pageState is what the trailer says about a page.
type pageState int

const (
	pageIntact pageState = iota
	pageCorrected
	pageDamaged
)

// verifyOrCorrectPage checks a page, and corrects it if one bit of it has changed.
func verifyOrCorrectPage(number int64, page []byte) pageState {
	content, trailer := splitTrailer(page)
	c, i := pageChecksums(number, content)
	c ^= binary.LittleEndian.Uint32(trailer)
	i ^= binary.LittleEndian.Uint32(trailer[4:])
	if c == 0 && i == 0 {
		return pageIntact
	}
	at, bit, found := findChangedBit(len(content), c, i)
	switch {
	case found:
		content[at] ^= 1 << bit
	case bits.OnesCount32(c)+bits.OnesCount32(i) != 1: // one bit of the trailer itself
		return pageDamaged
	}
	SetChecksum(number, page)
	return pageCorrected
}

// findChangedBit finds the one bit of n bytes whose change has changed their CRC-32C by c
// and their CRC-32 by i. CRCs are linear, so what a bit changes depends only on how many
// bytes follow it.
func findChangedBit(n int, c, i uint32) (at int, bit int, found bool) {
	var changeC, changeI [8]uint32
	for b := range 8 {
		changeC[b], changeI[b] = castagnoli[1<<b], crc32.IEEETable[1<<b]
	}
	for at := n - 1; at >= 0; at-- {
		for b := range 8 {
			if changeC[b] == c && changeI[b] == i {
				return at, b, true
			}
			changeC[b] = castagnoli[byte(changeC[b])] ^ changeC[b]>>8
			changeI[b] = crc32.IEEETable[byte(changeI[b])] ^ changeI[b]>>8
		}
	}
	return 0, 0, false
}

// sqliteMagic begins every SQLite file.
const sqliteMagic = "SQLite format 3\x00"

// checkedPageSize returns the page size that a file's first bytes declare if its pages
// have trailers, else 0.
func checkedPageSize(header []byte) int {
	if len(header) < 100 || string(header[:len(sqliteMagic)]) != sqliteMagic || header[20] != trailerBytes {
		return 0
	}
	return declaredPageSize(header)
}

// HasChecksums reports whether the pages of a file have trailers; firstPage is its first
// page.
func HasChecksums(firstPage []byte) bool { return checkedPageSize(firstPage) == len(firstPage) }

// declaredPageSize returns the page size in the header of a file, 0 if there is none.
func declaredPageSize(header []byte) int {
	n := int(header[16])<<8 | int(header[17])<<16 // 1 is 65536
	if n < 512 || n&(n-1) != 0 {
		return 0
	}
	return n
}

// maxPageSize is SQLite's largest page.
const maxPageSize = 65536

// findCheckedPageSize returns the page size of a file whose pages have trailers, 0 if they
// have none. start is the start of the file. A header with a changed bit does not matter.
func findCheckedPageSize(start []byte) int {
	if n := checkedPageSize(start); n > 0 {
		return n
	}
	for n := 512; n <= min(maxPageSize, len(start)); n *= 2 {
		page := append([]byte(nil), start[:n]...)
		if verifyOrCorrectPage(1, page) != pageDamaged && checkedPageSize(page) == n {
			return n
		}
	}
	return 0
}
