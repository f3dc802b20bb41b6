package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
)

// restoreStagingName is the directory in a data directory in which files stay until all of
// them are restored and verified.
const restoreStagingName = ".restoring"

// minFreeBytesAfterRestore is how much stays free on the disk.
const minFreeBytesAfterRestore = 64 << 20

// ErrNotEmpty is returned by Restore for a directory that holds something.
var ErrNotEmpty = fmt.Errorf("the directory is not empty: %w", picket.ErrConflict)

// ErrNoSpaceToRestore is returned by Restore if the disk has no room for the files.
var ErrNoSpaceToRestore = errors.New("the disk has not enough space")

// IsPartlyRestored reports whether a restore into a data directory has not ended.
func IsPartlyRestored(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, restoreStagingName))
	return err == nil
}

// Restore restores an archive into a directory, which is empty or does not exist. It
// calls prepare with the directory of the restored files before they can be used. After
// an error nothing is left; if the process dies, IsPartlyRestored reports it.
func Restore(ctx context.Context, file, dir string, prepare func(dir string) error) (Manifest, error) {
	m, err := restore(ctx, file, dir, prepare)
	if err != nil {
		return m, fmt.Errorf("restore %s into %s: %w", file, dir, err)
	}
	return m, nil
}

func restore(ctx context.Context, file, dir string, prepare func(dir string) error) (m Manifest, err error) {
	created, err := makeEmptyDir(dir)
	if err != nil {
		return m, err
	}
	staging := filepath.Join(dir, restoreStagingName)
	defer func() {
		if err != nil {
			os.RemoveAll(staging)
			if created {
				os.Remove(dir) // not if it is not empty
			}
		}
	}()
	if err := os.Mkdir(staging, 0o700); err != nil {
		return m, err
	}
	root, err := os.OpenRoot(staging)
	if err != nil {
		return m, err
	}
	defer root.Close()
	dirs := map[string]bool{".": true}
	m, err = readFile(ctx, file, func(name string, size int64, content io.Reader) error {
		for d := path.Dir(name); !dirs[d]; d = path.Dir(d) {
			dirs[d] = true
		}
		return extract(root, staging, name, size, content)
	})
	if err != nil {
		return m, err
	}
	if err := prepare(staging); err != nil {
		return m, err
	}
	for d := range dirs {
		if err := syncDir(filepath.Join(staging, filepath.FromSlash(d))); err != nil {
			return m, err
		}
	}
	if err := root.Close(); err != nil {
		return m, err
	}
	return m, moveUp(staging, dir)
}

// makeEmptyDir creates a directory, unless there is an empty one or the remains of a
// restore that was interrupted.
func makeEmptyDir(dir string) (created bool, err error) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, os.MkdirAll(dir, 0o700)
	case err != nil:
		return false, err
	case len(entries) == 1 && entries[0].Name() == restoreStagingName:
		return false, os.RemoveAll(filepath.Join(dir, restoreStagingName))
	case len(entries) > 0:
		return false, ErrNotEmpty
	}
	return false, nil
}

// extract writes a file of the archive into root, which is the directory at rootPath.
func extract(root *os.Root, rootPath, name string, size int64, content io.Reader) error {
	if free, err := sqlitequeue.FreeDiskBytes(rootPath); err != nil {
		return err
	} else if size > free-minFreeBytesAfterRestore {
		return fmt.Errorf("%d bytes, of which %d are free: %w", size, free, ErrNoSpaceToRestore)
	}
	local := filepath.FromSlash(name)
	if err := root.MkdirAll(filepath.Dir(local), 0o700); err != nil {
		return err
	}
	f, err := root.OpenFile(local, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// moveUp moves what is in staging to its parent directory, and removes staging. While
// staging is there, no server starts on the directory.
func moveUp(staging, dir string) (err error) {
	entries, err := os.ReadDir(staging)
	if err != nil {
		return err
	}
	var moved []string
	defer func() {
		if err != nil {
			for _, to := range moved {
				os.RemoveAll(to)
			}
		}
	}()
	for _, e := range entries {
		to := filepath.Join(dir, e.Name())
		if err := os.Rename(filepath.Join(staging, e.Name()), to); err != nil {
			return err
		}
		moved = append(moved, to)
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	if err := os.Remove(staging); err != nil {
		return err
	}
	return syncDir(dir)
}
