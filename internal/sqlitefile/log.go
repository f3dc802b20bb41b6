package sqlitefile

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
)

const (
	logHeaderBytes   = 32
	frameHeaderBytes = 24
)

// A checksum is SQLite's checksum of the write-ahead log, which each frame continues from
// the one before.
type checksum [2]uint32

// add returns the checksum continued over b, whose length is a multiple of eight.
func (s checksum) add(order binary.ByteOrder, b []byte) checksum {
	for ; len(b) >= 8; b = b[8:] {
		s[0] += order.Uint32(b) + s[1]
		s[1] += order.Uint32(b[4:]) + s[0]
	}
	return s
}

func readChecksum(b []byte) checksum {
	return checksum{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}
}

// readLog finds the last version of each page in the log.
//
// A frame is good if its checksum continues that of the frame before: the one that is
// stored there, or the one that is computed of it, of which at least one is right if the
// log is damaged in one place. What follows the last frame of this log is left of earlier
// logs: its salt is another.
func (f *File) readLog(scope Scope) error {
	st, err := f.log.Stat()
	if err != nil || st.Size() < logHeaderBytes+frameHeaderBytes {
		return err
	}
	r := bufio.NewReaderSize(f.log, 1<<20)
	header := make([]byte, logHeaderBytes)
	if _, err := io.ReadFull(r, header); err != nil {
		return err
	}
	var order binary.ByteOrder = binary.LittleEndian
	if header[3]&1 == 1 {
		order = binary.BigEndian
	}
	salt := string(header[16:24])
	stored, computed := readChecksum(header[24:]), checksum{}.add(order, header[:24])
	headerGood := stored == computed
	if !headerGood {
		f.logDamage++
		if scope == BeforeDamage {
			return nil
		}
		order = binary.LittleEndian // of all common machines
	}

	pending := make(map[uint32]int64) // the pages of a transaction that is not committed yet
	damaged := false                  // some of the transaction
	good := headerGood                // the frame before
	frame := make([]byte, frameHeaderBytes+f.pageBytes)
	for at := int64(logHeaderBytes); ; at += int64(len(frame)) {
		if _, err := io.ReadFull(r, frame); err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				return err
			}
			break
		}
		if at == logHeaderBytes && !headerGood {
			salt = string(frame[8:16]) // this log begins with the first frame
		}
		want := readChecksum(frame[16:])
		fromStored := stored.add(order, frame[:8]).add(order, frame[frameHeaderBytes:])
		fromComputed := computed.add(order, frame[:8]).add(order, frame[frameHeaderBytes:])
		continues := want == fromStored || want == fromComputed
		sameLog := string(frame[8:16]) == salt
		stored, computed = want, fromStored
		if want == fromComputed {
			computed = fromComputed
		}
		if !continues && !sameLog {
			if good {
				break // the end of this log
			}
			continue
		}
		if !sameLog && !good {
			continue
		}
		good = continues && sameLog
		if !good {
			f.logDamage++
			damaged = true
			if scope == BeforeDamage {
				return nil
			}
			if !continues {
				f.damaged[binary.BigEndian.Uint32(frame)] = at + frameHeaderBytes
				continue
			}
		}
		n := binary.BigEndian.Uint32(frame)
		pending[n] = at + frameHeaderBytes
		if committed := binary.BigEndian.Uint32(frame[4:]) != 0; committed {
			f.apply(pending)
			damaged = false
		}
	}
	if damaged && scope == AllFrames {
		f.apply(pending) // the damaged frame may be the commit
	}
	return nil
}

// apply makes the pages of a transaction the last versions.
func (f *File) apply(pending map[uint32]int64) {
	for n, at := range pending {
		f.inLog[n] = at
		if f.damaged[n] < at {
			delete(f.damaged, n)
		}
		f.pages = max(f.pages, n)
	}
	clear(pending)
}
