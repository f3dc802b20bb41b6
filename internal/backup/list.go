package backup

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A dirListing is what a data directory holds.
type dirListing struct {
	files     []string // paths in the directory, with slashes
	databases []string // SQLite files, in the order of their snapshots
	leftOut   []string
	dirs      []fs.FileInfo // of all directories, to notice that one was replaced
}

// list lists the data directory.
func (d *DataDir) list() (*dirListing, error) {
	l := new(dirListing)
	if err := d.listDir(l, "."); err != nil {
		return nil, err
	}
	order := func(name string) int { return slices.Index(d.Databases, name) } // unknown ones first
	slices.SortStableFunc(l.databases, func(a, b string) int { return cmp.Compare(order(a), order(b)) })
	belongsToDatabase := func(name string) bool {
		for _, suffix := range []string{"-wal", "-shm", "-journal", "-last"} {
			if base, ok := strings.CutSuffix(name, suffix); ok && slices.Contains(l.databases, base) {
				return true
			}
		}
		return false
	}
	l.files = slices.DeleteFunc(l.files, belongsToDatabase)
	return l, nil
}

func (d *DataDir) listDir(l *dirListing, dir string) error {
	info, err := os.Stat(d.path(dir))
	if err != nil {
		return err
	}
	l.dirs = append(l.dirs, info)
	entries, err := os.ReadDir(d.path(dir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if dir != "." {
			name = dir + "/" + name
		}
		if isTemporary(e) {
			continue
		}
		info, err := os.Stat(d.path(name)) // what a link leads to
		switch {
		case err != nil && e.Type()&fs.ModeSymlink == 0:
			return err
		case slices.Contains(d.Exclude, name), err != nil, checkName(name) != nil:
			l.leftOut = append(l.leftOut, name)
		case info.IsDir() && e.IsDir():
			if err := d.listDir(l, name); err != nil {
				return err
			}
		case info.Mode().IsRegular():
			db, err := isSQLite(d.path(name))
			switch {
			case err != nil:
				return err
			case db:
				l.databases = append(l.databases, name)
			default:
				l.files = append(l.files, name)
			}
		default: // a link to a directory, which may lead back, a socket or a device
			l.leftOut = append(l.leftOut, name)
		}
	}
	return nil
}

// isTemporary reports whether an entry is a file or directory that is being made.
func isTemporary(e fs.DirEntry) bool {
	name := e.Name()
	return strings.HasSuffix(name, ".tmp") ||
		e.IsDir() && (name == restoreStagingName || strings.HasPrefix(name, ".add-") || strings.HasPrefix(name, ".remove-"))
}

// sameFiles reports whether two listings have the same files in the same directories.
// The contents may differ: files are replaced as a whole.
func (l *dirListing) sameFiles(m *dirListing) bool {
	return slices.Equal(l.files, m.files) && slices.EqualFunc(l.dirs, m.dirs, os.SameFile)
}

// path returns the path of a name in the directory.
func (d *DataDir) path(name string) string { return filepath.Join(d.Path, filepath.FromSlash(name)) }
