package sqlitequeue

import (
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/picket-edr/picket/internal/queue"
)

// DiskSpace is the free space on the disk of a queue's file, as of the last second.
type DiskSpace struct {
	Free    int64 // bytes free to this process
	MinFree int64 // with less, Enqueue returns queue.ErrDiskFull; 0: no minimum
	Low     bool  // Enqueue fails for lack of space, or would
}

// roomAfterWriteFailed is how much must be free before the disk counts as having room
// again after a write failed for lack of space: some of the largest commits.
const roomAfterWriteFailed = 8 << 20

// A diskMonitor follows the free space on the disk of the queue's file, and logs each
// change between low and enough. It asks the system at most once a second, because that
// is a system call. Only the writer uses it, except space.
type diskMonitor struct {
	dir         string
	min         int64
	freeBytes   func(dir string) (int64, error)
	log         *slog.Logger
	checked     time.Time
	writeFailed bool // for lack of space, and there has been no room since
	space       atomic.Pointer[DiskSpace]
}

func newDiskMonitor(queuePath string, minFreeBytes int64, log *slog.Logger) *diskMonitor {
	m := &diskMonitor{dir: filepath.Dir(queuePath), min: max(minFreeBytes, 0), freeBytes: FreeDiskBytes, log: log}
	m.space.Store(&DiskSpace{MinFree: m.min})
	m.refresh(time.Now())
	return m
}

// refresh asks for the free space. If that fails, the disk is assumed to have
// enough: writing will fail if it does not.
func (m *diskMonitor) refresh(now time.Time) {
	if now.Sub(m.checked) < housekeepInterval {
		return
	}
	m.checked = now
	free, err := m.freeBytes(m.dir)
	if err != nil {
		m.update(DiskSpace{MinFree: m.min})
		return
	}
	m.writeFailed = m.writeFailed && free < roomAfterWriteFailed
	needed := m.min
	if m.space.Load().Low {
		needed += m.min / 8 // so that a disk at its minimum does not change every second
	}
	m.update(DiskSpace{Free: free, MinFree: m.min, Low: free < needed || m.writeFailed})
}

// recordWriteFailed records that the disk had no space for a commit.
func (m *diskMonitor) recordWriteFailed() {
	m.writeFailed = true
	s := *m.space.Load()
	s.Low = true
	m.update(s)
}

func (m *diskMonitor) update(s DiskSpace) {
	before := m.space.Swap(&s)
	if s.Low == before.Low {
		return
	}
	text := "disk has room again; batches are accepted"
	if s.Low {
		text = "disk nearly full; batches are refused"
	}
	m.log.Error(text, "free_bytes", s.Free, "min_free_bytes", s.MinFree)
}

// belowMinimum reports whether the free space is below the minimum.
func (m *diskMonitor) belowMinimum() bool {
	m.refresh(time.Now())
	return m.min > 0 && m.space.Load().Low
}

// DiskSpace returns the free space on the disk of the queue's file.
func (q *Queue) DiskSpace() DiskSpace { return *q.w.disk.space.Load() }

// CheckWritable returns why Enqueue would refuse any batch, nil if it would not: the error
// of Err, or queue.ErrDiskFull.
func (q *Queue) CheckWritable() error {
	if err := q.Err(); err != nil {
		return err
	}
	if q.DiskSpace().Low {
		return queue.ErrDiskFull
	}
	return nil
}
