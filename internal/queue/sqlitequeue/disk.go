package sqlitequeue

import (
	"path/filepath"
	"time"
)

// A diskSpace knows whether the file's disk has room. It looks once a second at
// most: asking costs a system call, and a full disk fills no faster.
type diskSpace struct {
	dir     string
	min     int64
	free    func(dir string) (int64, error)
	checked time.Time
	low     bool
}

func newDiskSpace(path string, min int64) *diskSpace {
	return &diskSpace{dir: filepath.Dir(path), min: min, free: FreeDisk}
}

// refresh asks for the free space. Where the system will not tell, the disk is
// taken to have room: writing finds out.
func (d *diskSpace) refresh(now time.Time) {
	if d.min <= 0 || now.Sub(d.checked) < housekeepInterval {
		return
	}
	d.checked = now
	free, err := d.free(d.dir)
	d.low = err == nil && free < d.min
}

// full reports whether too little is free.
func (d *diskSpace) full() bool {
	d.refresh(time.Now())
	return d.low
}
