package rulepack

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// maxFile bounds one file, as package detect bounds a rule file.
const maxFile = 4 << 20

// An entry is a file that a pack may be made of.
type entry struct {
	name string // with slashes
	mode fs.FileMode
	open func() (io.ReadCloser, error)
}

// collect copies the rules and licenses that from holds to the folder fresh,
// and returns the names of the licenses. tmp is a folder for what it needs
// besides.
func (f Folder) collect(ctx context.Context, from, name, tmp, fresh string) ([]string, error) {
	file, ext := from, strings.ToLower(filepath.Ext(from))
	if u := asURL(from); u != nil {
		u = direct(u)
		file, ext = filepath.Join(tmp, "download"), strings.ToLower(path.Ext(u.Path))
		if err := f.fetch(ctx, u, file); err != nil {
			return nil, fmt.Errorf("download: %w", err)
		}
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	var entries []entry
	switch {
	case info.IsDir():
		if within(f.Path, file) {
			return nil, errors.New("the folder holds the data directory; name one beside it")
		}
		entries, err = f.ofFolder(os.DirFS(file))
	case ext == ".yml" || ext == ".yaml":
		entries = []entry{{name + ".yml", info.Mode(), func() (io.ReadCloser, error) { return os.Open(file) }}}
	case isZip(file):
		z, zerr := zip.OpenReader(file)
		if zerr != nil {
			return nil, zerr
		}
		defer z.Close()
		entries, err = f.ofZip(&z.Reader)
	default:
		return nil, errors.New("it is neither a folder, nor a .yml file, nor a zip archive")
	}
	if err != nil {
		return nil, err
	}
	return f.copyAll(ctx, entries, fresh)
}

// isZip reports whether a file begins as zip archives do, whatever its name.
func isZip(name string) bool {
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	var head [4]byte
	_, err = io.ReadFull(f, head[:])
	return err == nil && string(head[:]) == "PK\x03\x04"
}

// within reports whether the path is in the folder.
func within(name, folder string) bool {
	a, err1 := filepath.Abs(name)
	b, err2 := filepath.Abs(folder)
	rel, err3 := filepath.Rel(b, a)
	return err1 == nil && err2 == nil && err3 == nil && filepath.IsLocal(rel)
}

// ofFolder returns what a folder holds of a pack.
func (f Folder) ofFolder(fsys fs.FS) ([]entry, error) {
	var entries []entry
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && leftOut(d.Name()):
			return fs.SkipDir
		case !d.IsDir() && (isRule(name) || isNotice(name)):
			entries = append(entries, entry{name, d.Type(), func() (io.ReadCloser, error) { return fsys.Open(name) }})
		}
		if len(entries) > f.Limits.Files {
			return fmt.Errorf("there are more than %d files", f.Limits.Files)
		}
		return nil
	})
	return entries, err
}

// ofZip returns what an archive holds of a pack, without the folder that all
// of it is in. An archive with a name that leads out of it is refused whole.
func (f Folder) ofZip(z *zip.Reader) ([]entry, error) {
	if len(z.File) > f.Limits.Files {
		return nil, fmt.Errorf("there are more than %d files in the archive", f.Limits.Files)
	}
	var entries []entry
	var size uint64
	for _, file := range z.File {
		name := strings.TrimSuffix(strings.TrimPrefix(file.Name, "./"), "/")
		if !fs.ValidPath(name) || !filepath.IsLocal(filepath.FromSlash(name)) || strings.ContainsAny(name, "\\\x00") {
			return nil, fmt.Errorf("the archive names a file %q, which is no path within it", file.Name)
		}
		folders := strings.Split(path.Dir(name), "/")
		if file.FileInfo().IsDir() || slices.ContainsFunc(folders, leftOut) || !isRule(name) && !isNotice(name) {
			continue
		}
		if size += file.UncompressedSize64; size > uint64(f.Limits.Unpacked) {
			return nil, f.tooLarge()
		}
		entries = append(entries, entry{name, file.Mode().Type(), file.Open})
	}
	return withoutRoot(entries), nil
}

// withoutRoot takes off the folder that all entries are in.
func withoutRoot(entries []entry) []entry {
	if len(entries) == 0 {
		return nil
	}
	root, _, ok := strings.Cut(entries[0].name, "/")
	if !ok || slices.ContainsFunc(entries, func(e entry) bool { return !strings.HasPrefix(e.name, root+"/") }) {
		return entries
	}
	for i := range entries {
		entries[i].name = entries[i].name[len(root)+1:]
	}
	return entries
}

// copyAll writes the entries to a folder, and to no place outside of it.
func (f Folder) copyAll(ctx context.Context, entries []entry, folder string) ([]string, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	licenses, left := []string{}, f.Limits.Unpacked
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if e.mode.Type() != 0 {
			return nil, fmt.Errorf("%s is no regular file, but a link or the like", e.name)
		}
		n, err := copyOne(root, e)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.name, err)
		}
		if left -= n; left < 0 {
			return nil, f.tooLarge()
		}
		if isLicense(e.name) {
			licenses = append(licenses, e.name)
		}
	}
	slices.Sort(licenses)
	return licenses, nil
}

func (f Folder) tooLarge() error {
	return fmt.Errorf("unpacked, it is larger than %d bytes", f.Limits.Unpacked)
}

func copyOne(root *os.Root, e entry) (n int64, err error) {
	if err := root.MkdirAll(path.Dir(e.name), 0o755); err != nil {
		return 0, err
	}
	in, err := e.open()
	if err != nil {
		return 0, err
	}
	defer in.Close()
	// The server may be another user than the one who adds; rules are no secret.
	out, err := root.OpenFile(e.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	// What an archive says of sizes may be a lie.
	if n, err = io.Copy(out, io.LimitReader(in, maxFile+1)); err == nil && n > maxFile {
		err = fmt.Errorf("it is larger than %d bytes", maxFile)
	}
	return n, err
}
