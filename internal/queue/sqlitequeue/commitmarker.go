package sqlitequeue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"time"
)

// A commitMarker is a small file next to the queue's, which records the last
// committed transaction. SQLite silently drops damaged transactions at the end
// of its write-ahead log, because it cannot know whether they were committed;
// the marker can tell. It is written after each commit and never fsynced: a
// marker that lags behind only detects less.
//
//	 0  file      8 bytes, state.file; all little endian
//	 8  seq       8 bytes, state.seq
//	16  accepted  8 bytes, state.accepted
//	24  crc       4 bytes, CRC-32C of the preceding bytes
type commitMarker struct {
	f    *os.File
	path string // the queue's
}

const lastCommitFileBytes = 28

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func openCommitMarker(path string) (*commitMarker, error) {
	f, err := os.OpenFile(path+"-last", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	return &commitMarker{f: f, path: path}, nil
}

func (m *commitMarker) close() error {
	if m == nil {
		return nil
	}
	return m.f.Close()
}

// write records a committed state. Errors are ignored: the commit has succeeded.
func (m *commitMarker) write(st *counters) {
	var b [lastCommitFileBytes]byte
	binary.LittleEndian.PutUint64(b[0:], uint64(st.File))
	binary.LittleEndian.PutUint64(b[8:], uint64(st.Seq))
	binary.LittleEndian.PutUint64(b[16:], uint64(st.Accepted))
	binary.LittleEndian.PutUint32(b[24:], crc32.Checksum(b[:24], castagnoli))
	m.f.WriteAt(b[:], 0)
}

// read returns the recorded state. ok is false if there is none, or it is damaged itself.
func (m *commitMarker) read() (last counters, ok bool, err error) {
	var b [lastCommitFileBytes]byte
	if n, err := m.f.ReadAt(b[:], 0); n < lastCommitFileBytes {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return last, false, err
	}
	if crc32.Checksum(b[:24], castagnoli) != binary.LittleEndian.Uint32(b[24:]) {
		return last, false, nil
	}
	last.File = int64(binary.LittleEndian.Uint64(b[0:]))
	last.Seq = int64(binary.LittleEndian.Uint64(b[8:]))
	last.Accepted = int64(binary.LittleEndian.Uint64(b[16:]))
	return last, true, nil
}

// reportLostTransactions logs how many of the recorded transactions are missing from found, and
// keeps a copy of the damaged write-ahead log for recovery attempts. The queue
// goes on: stopping would not recover them.
func (m *commitMarker) reportLostTransactions(found counters, log *slog.Logger) error {
	last, ok, err := m.read()
	if err != nil {
		return fmt.Errorf("read %s: %w", m.f.Name(), err)
	}
	lost := last.Seq - found.Seq
	if !ok || last.File != found.File || lost <= 0 {
		return nil
	}
	events := last.Accepted - found.Accepted
	kept := fmt.Sprintf("%s-wal.damaged-%s", m.path, time.Now().UTC().Format("20060102T150405"))
	if err := copyFile(kept, m.path+"-wal"); err != nil {
		kept = fmt.Sprintf("(not kept: %v)", err)
	}
	log.Error("write-ahead log damaged: the last committed transactions are lost",
		"transactions", lost, "events", events, "log", kept)
	m.write(&found)
	return nil
}

func copyFile(to, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}
