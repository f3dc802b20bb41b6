package sqlitefile

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
)

// The format of a write-ahead log is described in https://sqlite.org/walformat.html.
const (
	logHeaderBytes   = 32
	frameHeaderBytes = 24
)

func (r *pageReader) logHeader() ([]byte, binary.ByteOrder) {
	header := make([]byte, logHeaderBytes)
	if r.log == nil {
		return nil, nil
	}
	if _, err := r.log.ReadAt(header, 0); err != nil {
		return nil, nil
	}
	switch binary.BigEndian.Uint32(header) {
	case 0x377f0682:
		return header, binary.LittleEndian
	case 0x377f0683:
		return header, binary.BigEndian
	}
	return nil, nil
}

// logPageSize returns the page size in the header of the write-ahead log, 0 if there is
// none.
func (r *pageReader) logPageSize() int {
	header, _ := r.logHeader()
	if header == nil {
		return 0
	}
	n := int(binary.BigEndian.Uint32(header[8:]))
	if n < 512 || n > maxPageSize || n&(n-1) != 0 {
		return 0
	}
	return n
}

// A logChecksum is SQLite's checksum of the write-ahead log, which each frame continues
// from the one before.
type logChecksum [2]uint32

// continued returns the checksum continued over b.
func (c logChecksum) continued(order binary.ByteOrder, b []byte) logChecksum {
	for ; len(b) >= 8; b = b[8:] {
		c[0] += order.Uint32(b) + c[1]
		c[1] += order.Uint32(b[4:]) + c[0]
	}
	return c
}

func storedLogChecksum(b []byte) logChecksum {
	return logChecksum{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}
}

// readLog finds the last version of each page in the log, as of the last transaction.
//
// A frame is good if its checksum continues that of the frame before: the one that is
// stored there, or the one that is computed of it, of which at least one is right if the
// log is damaged in one place. What follows the last frame of this log is left of earlier
// logs: its salt is another.
func (r *pageReader) readLog(scope LogScope) error {
	r.inLog, r.damagedInLog = make(map[int64]int64), make(map[int64]int64)
	if r.log == nil {
		return nil
	}
	header := make([]byte, logHeaderBytes)
	if n, err := r.log.ReadAt(header, 0); n < len(header) {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return err
	}
	_, order := r.logHeader()
	stored, computed := storedLogChecksum(header[24:]), logChecksum{}
	good := order != nil && r.logPageSize() == r.pageSize
	if good {
		computed = computed.continued(order, header[:24])
		good = stored == computed
	}
	salt := string(header[16:24])
	if !good {
		if scope == BeforeDamage {
			r.damagedFrames++
			return nil
		}
		order, salt = binary.LittleEndian, r.commonSalt() // the order on all common machines
	}

	in := bufio.NewReaderSize(io.NewSectionReader(r.log, logHeaderBytes, 1<<62), 1<<20)
	frame := make([]byte, frameHeaderBytes+r.pageSize)
	uncommitted, damaged := make(map[int64]int64), !good
	for at := int64(logHeaderBytes + frameHeaderBytes); ; at += int64(len(frame)) {
		if _, err := io.ReadFull(in, frame); err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				return err
			}
			break
		}
		want := storedLogChecksum(frame[16:])
		afterStored := stored.continued(order, frame[:8]).continued(order, frame[frameHeaderBytes:])
		afterComputed := computed.continued(order, frame[:8]).continued(order, frame[frameHeaderBytes:])
		continues, sameLog := want == afterStored || want == afterComputed, string(frame[8:16]) == salt
		if stored, computed = want, afterStored; want == afterComputed {
			computed = want
		}
		switch {
		case !continues && !sameLog && good: // the end of this log
			r.commitUnfinishedIfDamaged(scope, uncommitted, damaged)
			return nil
		case !sameLog && !good:
			continue
		}
		page := int64(binary.BigEndian.Uint32(frame))
		if good = continues && sameLog; !good {
			r.damagedFrames++
			damaged = true
			if scope == BeforeDamage {
				return nil
			}
			if !continues {
				r.damagedInLog[page] = at
				continue
			}
		}
		uncommitted[page] = at
		if pages := binary.BigEndian.Uint32(frame[4:]); pages > 0 { // the transaction ends
			r.commitLog(uncommitted)
			r.pageCount, damaged = int64(pages), false
		}
	}
	r.commitUnfinishedIfDamaged(scope, uncommitted, damaged)
	return nil
}

// commonSalt returns the salt that most of the first frames have.
func (r *pageReader) commonSalt() (salt string) {
	count := make(map[string]int)
	for i := range int64(5) {
		var frame [frameHeaderBytes]byte
		if _, err := r.log.ReadAt(frame[:], logHeaderBytes+i*int64(frameHeaderBytes+r.pageSize)); err != nil {
			break
		}
		s := string(frame[8:16])
		if count[s]++; count[s] > count[salt] {
			salt = s
		}
	}
	return salt
}

// commitLog makes the pages of a transaction the last versions.
func (r *pageReader) commitLog(transaction map[int64]int64) {
	for page, at := range transaction {
		r.inLog[page] = at
		if r.damagedInLog[page] < at {
			delete(r.damagedInLog, page)
		}
	}
	clear(transaction)
}

// commitUnfinishedIfDamaged handles the transaction that does not end in the log. If a
// frame of it is damaged, that may be the one that ends it.
func (r *pageReader) commitUnfinishedIfDamaged(scope LogScope, transaction map[int64]int64, damaged bool) {
	if scope != AllFrames || !damaged {
		return
	}
	for page := range transaction {
		r.pageCount = max(r.pageCount, page)
	}
	r.commitLog(transaction)
}
