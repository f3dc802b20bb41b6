package ruleset

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
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

// maxPackFileBytes bounds a file of a pack.
const maxPackFileBytes = 4 << 20

// A packFileToCopy is a candidate file of a pack.
type packFileToCopy struct {
	name string // with slashes
	mode fs.FileMode
	open func() (io.ReadCloser, error)
}

// copyPack copies the rules, licenses and notices of a source to the directory newDir, and
// returns the names of the licenses. tmpDir is a directory for temporary files.
func (f PackDir) copyPack(ctx context.Context, pathOrURL, name, wantSHA256, tmpDir, newDir string) (licenses []string, err error) {
	file, ext := pathOrURL, strings.ToLower(filepath.Ext(pathOrURL))
	if u := parseURL(pathOrURL); u != nil {
		u = contentURL(u)
		file, ext = filepath.Join(tmpDir, "download"), strings.ToLower(path.Ext(u.Path))
		if err := f.downloadToFile(ctx, u, file); err != nil {
			return nil, fmt.Errorf("download: %w", err)
		}
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if wantSHA256 != "" {
		if err := checkSHA256(file, wantSHA256); err != nil {
			return nil, err
		}
	}
	var entries []packFileToCopy
	switch {
	case info.IsDir():
		if isWithin(f.Path, file) {
			return nil, errors.New("the folder holds the data directory; name one beside it")
		}
		entries, err = f.dirFiles(os.DirFS(file))
	case ext == ".yml" || ext == ".yaml":
		entries = []packFileToCopy{{name + ".yml", info.Mode(), func() (io.ReadCloser, error) { return os.Open(file) }}}
	case hasZipSignature(file):
		z, zerr := zip.OpenReader(file)
		if zerr != nil {
			return nil, zerr
		}
		defer z.Close()
		entries, err = f.zipFiles(&z.Reader)
	default:
		return nil, errors.New("it is neither a folder, nor a .yml file, nor a zip archive")
	}
	if err != nil {
		return nil, err
	}
	return f.copyFiles(ctx, entries, newDir)
}

// checkSHA256 returns ErrSHA256Mismatch unless a file has a hash.
func checkSHA256(path, want string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return fmt.Errorf("compute the SHA-256: %w", err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); !strings.EqualFold(got, want) {
		return fmt.Errorf("%w: %s", ErrSHA256Mismatch, got)
	}
	return nil
}

// hasZipSignature reports whether a file starts with the signature of zip archives.
func hasZipSignature(name string) bool {
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	var head [4]byte
	_, err = io.ReadFull(f, head[:])
	return err == nil && string(head[:]) == "PK\x03\x04"
}

// isWithin reports whether a path is in a directory.
func isWithin(path, dir string) bool {
	a, err1 := filepath.Abs(path)
	b, err2 := filepath.Abs(dir)
	rel, err3 := filepath.Rel(b, a)
	return err1 == nil && err2 == nil && err3 == nil && filepath.IsLocal(rel)
}

// dirFiles returns the pack files of a directory.
func (f PackDir) dirFiles(fsys fs.FS) ([]packFileToCopy, error) {
	var entries []packFileToCopy
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && isExcludedDir(d.Name()):
			return fs.SkipDir
		case !d.IsDir() && (isRuleFile(name) || isLicenseOrReadme(name)):
			entries = append(entries, packFileToCopy{name, d.Type(), func() (io.ReadCloser, error) { return fsys.Open(name) }})
		}
		if len(entries) > f.Limits.Files {
			return fmt.Errorf("there are more than %d files", f.Limits.Files)
		}
		return nil
	})
	return entries, err
}

// zipFiles returns the pack files of an archive, without the archive's root directory.
// An archive with a name that leads outside is an error.
func (f PackDir) zipFiles(z *zip.Reader) ([]packFileToCopy, error) {
	if len(z.File) > f.Limits.Files {
		return nil, fmt.Errorf("there are more than %d files in the archive", f.Limits.Files)
	}
	var entries []packFileToCopy
	var size uint64
	for _, file := range z.File {
		name := strings.TrimSuffix(strings.TrimPrefix(file.Name, "./"), "/")
		if !fs.ValidPath(name) || !filepath.IsLocal(filepath.FromSlash(name)) || strings.ContainsAny(name, "\\\x00") {
			return nil, fmt.Errorf("the archive names a file %q, which is no path within it", file.Name)
		}
		folders := strings.Split(path.Dir(name), "/")
		if file.FileInfo().IsDir() || slices.ContainsFunc(folders, isExcludedDir) || !isRuleFile(name) && !isLicenseOrReadme(name) {
			continue
		}
		if size += file.UncompressedSize64; size > uint64(f.Limits.Unpacked) {
			return nil, f.unpackedTooLargeError()
		}
		entries = append(entries, packFileToCopy{name, file.Mode().Type(), file.Open})
	}
	return stripCommonRoot(entries), nil
}

// stripCommonRoot removes the directory that all files are in.
func stripCommonRoot(entries []packFileToCopy) []packFileToCopy {
	if len(entries) == 0 {
		return nil
	}
	root, _, ok := strings.Cut(entries[0].name, "/")
	if !ok || slices.ContainsFunc(entries, func(e packFileToCopy) bool { return !strings.HasPrefix(e.name, root+"/") }) {
		return entries
	}
	for i := range entries {
		entries[i].name = entries[i].name[len(root)+1:]
	}
	return entries
}

// copyFiles writes the files to a directory, and returns the names of the licenses. It
// cannot write outside of the directory.
func (f PackDir) copyFiles(ctx context.Context, entries []packFileToCopy, folder string) (licenses []string, err error) {
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
		n, err := copyFile(root, e)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.name, err)
		}
		if left -= n; left < 0 {
			return nil, f.unpackedTooLargeError()
		}
		if isLicenseFile(e.name) {
			licenses = append(licenses, e.name)
		}
	}
	slices.Sort(licenses)
	return licenses, nil
}

func (f PackDir) unpackedTooLargeError() error {
	return fmt.Errorf("unpacked, it is larger than %d bytes", f.Limits.Unpacked)
}

func copyFile(root *os.Root, e packFileToCopy) (written int64, err error) {
	if err := root.MkdirAll(path.Dir(e.name), 0o755); err != nil {
		return 0, err
	}
	in, err := e.open()
	if err != nil {
		return 0, err
	}
	defer in.Close()
	// The server may run as another user; rules are not secret.
	out, err := root.OpenFile(e.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	// Sizes in an archive may be wrong.
	if written, err = io.Copy(out, io.LimitReader(in, maxPackFileBytes+1)); err == nil && written > maxPackFileBytes {
		err = fmt.Errorf("it is larger than %d bytes", maxPackFileBytes)
	}
	return written, err
}
