package scan

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
)

// Bounds of a zip file. What its files decompress to may be a multiple of its size, as
// logs do, but not the millions of times that a crafted one can.
const (
	maxZipFiles       = 100_000
	maxZipRatio       = 200
	minZipBytesBudget = 1 << 30
)

const zipExtension = ".zip"

// isZip reports whether a file is an archive of event files.
func (s eventFile) isZip() bool { return s.ext == zipExtension && s.compression == "" }

var errZipTooLarge = errors.New("its files decompress to more than 1 GiB and 200 times its size; the rest is skipped")

// readZip reads the event files in a zip file, with names as in logs.zip/Security.evtx.
// It fails only if ctx ends.
func (r *fileReader) readZip(s eventFile) error {
	f, err := os.Open(s.name)
	if err != nil {
		r.to.reportProblem(fmt.Errorf("read %s: %w", s.name, errors.Unwrap(err)))
		return r.ctx.Err()
	}
	defer f.Close()
	found, err := r.readZipFiles(s, f)
	switch {
	case err != nil && r.ctx.Err() == nil:
		r.to.reportProblem(fmt.Errorf("read %s: %w", s.name, err))
	case found == 0:
		r.to.reportProblem(fmt.Errorf("read %s: no file in it is of events (%s)", s.name, eventExtensionsText))
	}
	return r.ctx.Err()
}

// readZipFiles reads the event files in an archive, and returns how many there are.
func (r *fileReader) readZipFiles(s eventFile, f *os.File) (found int, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	z, err := zip.NewReader(&countingReaderAt{r, f}, info.Size())
	if err != nil {
		return 0, err
	}
	if len(z.File) > maxZipFiles {
		return 0, fmt.Errorf("it has %d files, more than %d", len(z.File), maxZipFiles)
	}
	budget := max(minZipBytesBudget, maxZipRatio*info.Size())
	for _, entry := range z.File {
		inside := newEventFile(path.Join(s.name, path.Clean("/"+entry.Name)))
		if entry.FileInfo().IsDir() || !eventFileExtensions[inside.ext] || inside.isZip() {
			continue
		}
		found++
		inside.modified = entry.Modified
		err := r.readRecords(inside.name, func() error { return r.readZipEntry(inside, entry, &budget) })
		if err != nil {
			return found, err
		}
		if budget <= 0 {
			return found, errZipTooLarge
		}
	}
	return found, nil
}

// readZipEntry reads one file of an archive.
func (r *fileReader) readZipEntry(s eventFile, entry *zip.File, budget *int64) error {
	if entry.Flags&1 != 0 {
		return errors.New("it is encrypted; decrypt the archive first")
	}
	f, err := entry.Open()
	if err != nil {
		return err
	}
	defer f.Close()
	return s.readFrom(f, budget, r.to)
}

// A countingReaderAt counts the bytes read from an archive. It fails once the scan ends.
type countingReaderAt struct {
	files *fileReader
	r     io.ReaderAt
}

func (c *countingReaderAt) ReadAt(b []byte, off int64) (int, error) {
	if err := c.files.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.ReadAt(b, off)
	c.files.progress.Bytes.Add(int64(n))
	return n, err
}

// A budgetReader fails once a budget of bytes that it shares with others is used up.
type budgetReader struct {
	r    io.Reader
	left *int64 // nil: no bound
}

func (b *budgetReader) Read(p []byte) (int, error) {
	if b.left == nil {
		return b.r.Read(p)
	}
	if *b.left <= 0 {
		return 0, errZipTooLarge
	}
	n, err := b.r.Read(p)
	*b.left -= int64(n)
	return n, err
}
