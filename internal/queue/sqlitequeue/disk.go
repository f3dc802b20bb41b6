package sqlitequeue

import (
	"path/filepath"
	"time"
)

// diskSpace tells whether the disk of the queue's file has enough free space. It
// asks the system at most once a second, because that is a system call.
type diskSpace struct {
	dir     string
	min     int64
	free    func(dir string) (int64, error)
	checked time.Time
	low     bool
}

func newDiskSpace(queuePath string, minFreeBytes int64) *diskSpace {
	return &diskSpace{dir: filepath.Dir(queuePath), min: minFreeBytes, free: FreeDiskBytes}
}

// refresh asks for the free space. If that fails, the disk is assumed to have
// enough: writing will fail if it does not.
func (d *diskSpace) refresh(now time.Time) {
	if d.min <= 0 || now.Sub(d.checked) < housekeepInterval {
		return
	}
	d.checked = now
	free, err := d.free(d.dir)
	d.low = err == nil && free < d.min
}

// isLow reports whether the free space is below the minimum.
func (d *diskSpace) isLow() bool {
	d.refresh(time.Now())
	return d.low
}
