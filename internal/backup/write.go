package backup

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/picket-edr/picket"
)

// A DataDir is the data directory of a server.
type DataDir struct {
	Path string
	// Databases are the SQLite files through which events pass, in this order. Names
	// are paths in the directory, with slashes.
	Databases []string
	// Exclude are names that are left out.
	Exclude []string
}

// An ArchiveInfo describes a complete archive.
type ArchiveInfo struct {
	Manifest
	ArchiveBytes  int64  // its size
	ArchiveSHA256 string // its own hash
}

// maxAttempts is how often a backup begins again because directories were replaced
// meanwhile.
const maxAttempts = 5

// errChanged is the error of an attempt that has to be repeated.
var errChanged = errors.New("files were added, removed or replaced meanwhile")

// Write writes the data directory to a file, which others cannot read. version and
// storeEngine are for the manifest. A file that was there is replaced when the archive
// is complete.
func Write(ctx context.Context, file string, d DataDir, version, storeEngine string) (ArchiveInfo, error) {
	a, err := write(ctx, file, d, Manifest{Format: formatVersion, Picket: version, Store: storeEngine})
	if err != nil {
		return a, fmt.Errorf("back up %s: %w", d.Path, err)
	}
	return a, nil
}

func write(ctx context.Context, file string, d DataDir, m Manifest) (a ArchiveInfo, err error) {
	if inside, err := isInside(file, d.Path); err != nil {
		return a, err
	} else if inside {
		return a, fmt.Errorf("%s is in the data directory itself: %w", file, picket.ErrInvalid)
	}
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*.tmp") // of mode 600
	if err != nil {
		return a, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	for attempt := 1; ; attempt++ {
		a, err = writeArchive(ctx, f, d, m)
		if !errors.Is(err, errChanged) && !errors.Is(err, fs.ErrNotExist) || attempt == maxAttempts {
			break
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return a, err
		}
		if err := f.Truncate(0); err != nil {
			return a, err
		}
	}
	if err != nil {
		return a, err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return a, err
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return a, err
	}
	return a, syncDir(filepath.Dir(file))
}

// isInside reports whether a file would be in a directory or below it.
func isInside(file, dir string) (bool, error) {
	parent, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return false, err
	}
	if parent, err = filepath.EvalSymlinks(parent); err != nil {
		return false, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return false, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return false, err
	}
	rel, err := filepath.Rel(dir, parent)
	return err == nil && filepath.IsLocal(rel), nil
}

// An archiveWriter writes an archive and hashes what it contains.
type archiveWriter struct {
	tar  *tar.Writer
	hash hash.Hash // of the current file
	m    Manifest
}

// writeArchive is one attempt to write the archive.
func writeArchive(ctx context.Context, f io.Writer, d DataDir, m Manifest) (a ArchiveInfo, err error) {
	sum, size := sha256.New(), new(countingWriter)
	z, err := zstd.NewWriter(io.MultiWriter(f, sum, size), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return a, err
	}
	defer z.Close() // a second Close has no effect
	w := &archiveWriter{tar: tar.NewWriter(z), hash: sha256.New(), m: m}
	w.m.Created = time.Now().UTC()
	if err := w.addDataDir(ctx, d); err != nil {
		return a, err
	}
	if err := w.addManifest(); err != nil {
		return a, err
	}
	if err := errors.Join(w.tar.Close(), z.Close()); err != nil {
		return a, err
	}
	return ArchiveInfo{Manifest: w.m, ArchiveBytes: int64(*size), ArchiveSHA256: hexHash(sum.Sum(nil))}, nil
}

type countingWriter int64

func (c *countingWriter) Write(p []byte) (int, error) {
	*c += countingWriter(len(p))
	return len(p), nil
}

// addDataDir adds all files, in the order that the package's comment explains.
func (w *archiveWriter) addDataDir(ctx context.Context, d DataDir) error {
	l, err := d.list()
	if err != nil {
		return err
	}
	w.m.LeftOut = l.leftOut
	for _, name := range l.files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.addFile(name, d.path(name)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	paths := make([]string, len(l.databases))
	for i, name := range l.databases {
		paths[i] = d.path(name)
	}
	snapshots, err := takeSnapshots(ctx, paths, func(path string) bool {
		return !slices.ContainsFunc(d.Databases, func(name string) bool { return d.path(name) == path })
	})
	if err != nil {
		return err
	}
	defer func() { closeAll(snapshots) }()
	// Opening a database may have made or removed files that belong to it.
	if again, err := d.list(); err != nil {
		return err
	} else if !l.sameFiles(again) {
		return errChanged
	}
	for i, name := range l.databases {
		if s := snapshots[i]; s == nil {
			err = w.addFile(name, d.path(name)) // a damaged file that was set aside
		} else {
			err = w.add(name, s.bytes(), func(to io.Writer) error { return s.writeTo(ctx, to) })
			snapshots[i] = nil
			err = errors.Join(err, s.close()) // its write-ahead log can shrink
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// addFile adds a file as it is.
func (w *archiveWriter) addFile(name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return w.add(name, info.Size(), func(to io.Writer) error {
		n, err := io.Copy(to, io.LimitReader(f, info.Size()))
		if err == nil && n < info.Size() {
			err = errChanged
		}
		return err
	})
}

// add adds a file of so many bytes, which write writes.
func (w *archiveWriter) add(name string, size int64, write func(io.Writer) error) error {
	if err := w.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: dataPrefix + name, Size: size, Mode: 0o600, ModTime: w.m.Created}); err != nil {
		return err
	}
	w.hash.Reset()
	if err := write(io.MultiWriter(w.tar, w.hash)); err != nil {
		return err
	}
	w.m.Files = append(w.m.Files, File{Name: name, Bytes: size, SHA256: hexHash(w.hash.Sum(nil))})
	if len(w.m.Files) > maxFiles {
		return fmt.Errorf("more than %d files: %w", maxFiles, picket.ErrInvalid)
	}
	return nil
}

func (w *archiveWriter) addManifest() error {
	text, err := json.MarshalIndent(w.m, "", " ")
	if err != nil {
		return err
	}
	if err := w.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: manifestName, Size: int64(len(text)), Mode: 0o600, ModTime: w.m.Created}); err != nil {
		return err
	}
	_, err = w.tar.Write(text)
	return err
}

// syncDir makes the names in a directory durable, where the system can.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = errors.Join(f.Sync(), f.Close())
	if err != nil && strings.Contains(err.Error(), "invalid argument") {
		return nil // a file system that cannot
	}
	return err
}
