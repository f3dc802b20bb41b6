package sqlitequeue

import (
	"path/filepath"
	"time"
)

// A disk knows whether the file's disk has room. It looks once a second at
// most: asking costs a system call, and a full disk fills no faster.
type disk struct {
	dir     string
	min     int64
	free    func(dir string) (int64, error)
	checked time.Time
	low     bool
}

func newDisk(path string, min int64) *disk {
	return &disk{dir: filepath.Dir(path), min: min, free: FreeDisk}
}

// look asks for the free space. Where the system will not tell, the disk is
// taken to have room: writing finds out.
func (d *disk) look(now time.Time) {
	if d.min <= 0 || now.Sub(d.checked) < housekeeping {
		return
	}
	d.checked = now
	free, err := d.free(d.dir)
	d.low = err == nil && free < d.min
}

// full reports whether too little is free.
func (d *disk) full() bool {
	d.look(time.Now())
	return d.low
}
