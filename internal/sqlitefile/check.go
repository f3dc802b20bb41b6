package sqlitefile

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// A CheckReport says what CheckPages found.
type CheckReport struct {
	Checksums bool // the pages have checksums; otherwise only the size is checked
	Pages     int64
	Corrected int64 // pages of which one bit has changed, which is corrected when they are read
	Damaged   int64 // pages that cannot be read
}

// DamageText says how many pages are damaged.
func (r CheckReport) DamageText() string {
	if r.Damaged == 1 {
		return fmt.Sprintf("1 of %d pages is damaged", r.Pages)
	}
	return fmt.Sprintf("%d of %d pages are damaged", r.Damaged, r.Pages)
}

// CheckPages reads all pages of a file, which other processes may have open. This process
// must not: closing a file releases the locks of others on it.
func CheckPages(ctx context.Context, path string) (CheckReport, error) {
	r, err := openPages(path)
	if err != nil {
		return CheckReport{}, fmt.Errorf("check %s: %w", path, err)
	}
	defer r.close()
	report := CheckReport{Checksums: r.checked, Pages: r.pageCount}
	if first, err := r.readPage(1); err == nil && len(r.inLog) == 0 {
		// A file that was cut has fewer pages than its header says.
		report.Pages = max(report.Pages, int64(binary.BigEndian.Uint32(first[28:])))
	}
	report.Damaged = report.Pages - min(report.Pages, r.pageCount)
	page := make([]byte, r.pageSize)
	for number := int64(1); number <= r.pageCount && ctx.Err() == nil; number++ {
		if _, ok := r.inLog[number]; ok {
			continue
		}
		switch r.readAndVerify(number, page) {
		case pageCorrected:
			report.Corrected++
		case pageDamaged:
			report.Damaged++
		}
	}
	return report, ctx.Err()
}

// readAndVerify reads a page into buf. One that seems damaged may just be being written,
// so it is read more than once.
func (r *pageReader) readAndVerify(number int64, buf []byte) pageState {
	state := pageDamaged
	for range 3 {
		if _, err := r.file.ReadAt(buf, (number-1)*int64(r.pageSize)); err == nil {
			if !r.checked {
				return pageIntact
			}
			if state = verifyOrCorrectPage(number, buf); state == pageIntact {
				return state
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	return state
}

// ErrInUse means that another process has the file open.
var ErrInUse = errors.New("another process has the file open")

// CheckUnused returns ErrInUse if another process has the file open.
func CheckUnused(ctx context.Context, path string) error {
	db, err := Open(path, "busy_timeout(0)", "locking_mode(exclusive)")
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, "BEGIN EXCLUSIVE"); isBusy(err) {
		return fmt.Errorf("lock %s: %w", path, ErrInUse)
	}
	return nil // other errors are of a damaged file
}

// Replace puts a salvaged file in the place of a damaged one, and returns the name under
// which that is kept, with its write-ahead log. No process may have one of them open.
func Replace(path, salvaged string, now time.Time) (kept string, err error) {
	kept = path + ".damaged-" + now.UTC().Format("20060102T150405")
	if _, err := os.Lstat(kept); err == nil {
		return "", fmt.Errorf("%s is there already", kept)
	}
	if err := os.Rename(path, kept); err != nil {
		return "", err
	}
	if err := os.Rename(path+"-wal", kept+"-wal"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", errors.Join(err, os.Rename(kept, path))
	}
	if err := os.Remove(path + "-shm"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if err := os.Rename(salvaged, path); err != nil {
		return "", err
	}
	syncDir(filepath.Dir(path))
	return kept, nil
}

// syncDir makes renames durable, where the system can.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		d.Sync()
		d.Close()
	}
}
