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

// A commitMarker is a small file beside the queue's that tells which transaction
// was committed last. SQLite drops damaged transactions from the end of its
// log without a word, since it cannot know whether they were acknowledged;
// the witness knows. It is written after each commit and never synced: where
// it is behind, it only fails to tell.
//
//	 0  file      8 bytes, little endian as the rest: state.file
//	 8  seq       8 bytes: state.seq
//	16  accepted  8 bytes: state.accepted
//	24  crc       4 bytes: CRC-32C of the bytes before
type commitMarker struct {
	f    *os.File
	path string // the queue's
}

const commitMarkerSize = 28

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func openCommitMarker(path string) (*commitMarker, error) {
	f, err := os.OpenFile(path+"-last", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	return &commitMarker{f: f, path: path}, nil
}

func (w *commitMarker) close() error {
	if w == nil {
		return nil
	}
	return w.f.Close()
}

// write notes the state that was committed. It cannot fail the commit, which
// is done.
func (w *commitMarker) write(st *state) {
	var b [commitMarkerSize]byte
	binary.LittleEndian.PutUint64(b[0:], uint64(st.File))
	binary.LittleEndian.PutUint64(b[8:], uint64(st.Seq))
	binary.LittleEndian.PutUint64(b[16:], uint64(st.Accepted))
	binary.LittleEndian.PutUint32(b[24:], crc32.Checksum(b[:24], castagnoli))
	w.f.WriteAt(b[:], 0)
}

// compare says what of the commits that the witness saw is missing from st.
// The queue goes on without: stopping brings nothing back. The damaged log is
// kept for those who want to try.
func (w *commitMarker) compare(st *state, log *slog.Logger) error {
	var b [commitMarkerSize]byte
	if n, err := w.f.ReadAt(b[:], 0); n < commitMarkerSize {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return fmt.Errorf("read %s: %w", w.f.Name(), err)
	}
	if crc32.Checksum(b[:24], castagnoli) != binary.LittleEndian.Uint32(b[24:]) ||
		int64(binary.LittleEndian.Uint64(b[0:])) != st.File {
		return nil // of another file, or torn itself
	}
	lost := int64(binary.LittleEndian.Uint64(b[8:])) - st.Seq
	if lost <= 0 {
		return nil
	}
	events := int64(binary.LittleEndian.Uint64(b[16:])) - st.Accepted
	kept := fmt.Sprintf("%s-wal.damaged-%s", w.path, time.Now().UTC().Format("20060102T150405"))
	if err := copyFile(kept, w.path+"-wal"); err != nil {
		kept = fmt.Sprintf("(not kept: %v)", err)
	}
	log.Error("the end of the queue's log is damaged: what was acknowledged last is missing",
		"transactions", lost, "events", events, "log", kept)
	w.write(st)
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
