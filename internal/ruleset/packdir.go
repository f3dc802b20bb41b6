package ruleset

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Pack is an installed rule pack.
type Pack struct {
	Name string `json:"name"`
	Path string `json:"path"`
	KindCounts
	Problems int      `json:"problems"` // rules that do not load
	Licenses []string `json:"licenses"` // names of license files in Path
}

// PackLimits bound a pack.
type PackLimits struct {
	Download int64 // bytes of an archive or file from the network
	Unpacked int64 // bytes of all files together
	Files    int   // entries of an archive
}

// DefaultPackLimits are some fifty times the size of SigmaHQ's repository.
var DefaultPackLimits = PackLimits{Download: 256 << 20, Unpacked: 1 << 30, Files: 100_000}

// A PackDir is the directory of installed rule packs, each in a subdirectory. A
// server's Loader watches it.
//
// A pack is installed whole or not at all, and the previous version stays until
// then. Nothing is written outside the directory, whatever an archive contains, and
// sizes and times are bounded.
type PackDir struct {
	Path   string
	Limits PackLimits
}

// Errors that the user can act on.
var (
	ErrPlainHTTP       = errors.New("plain http can be changed on its way")
	ErrInvalidPackName = errors.New("a name is letters, digits, dots, dashes, underscores and plus signs, 64 at most, and not builtin")
	ErrPackNotFound    = errors.New("there is no such pack")
	ErrSHA256Mismatch  = errors.New("it has another SHA-256 than the one given")
)

// AddOptions change how a pack is installed. The zero value is ready to use.
type AddOptions struct {
	Name string // "": derived from where the pack comes from
	// SHA256 is the hash that the file or download must have, in hexadecimal; "":
	// any. A directory has none.
	SHA256 string
	// FiltersAny: the pack's filters apply to the rules of other packs too.
	FiltersAny bool
}

// filtersAnyMarkerFile marks a pack whose filters apply to all rules.
const filtersAnyMarkerFile = ".filters-any"

// Add installs a pack from a directory, a .yml or .zip file, or the URL of such a file
// or of a GitHub repository. It replaces a pack of the same name. A pack without any
// rule that loads is an error.
func (f PackDir) Add(ctx context.Context, pathOrURL string, o AddOptions) (p Pack, err error) {
	name := o.Name
	if name == "" {
		name = DerivePackName(pathOrURL)
	}
	if !validPackName(name) {
		return p, fmt.Errorf("%q: %w", name, ErrInvalidPackName)
	}
	if err := os.MkdirAll(f.Path, 0o755); err != nil {
		return p, err
	}
	// The loader skips directories whose names start with a dot.
	tmp, err := os.MkdirTemp(f.Path, ".add-")
	if err != nil {
		return p, err
	}
	defer os.RemoveAll(tmp)
	newDir := filepath.Join(tmp, "pack")
	if err := os.Mkdir(newDir, 0o755); err != nil {
		return p, err
	}
	licenses, err := f.copyPack(ctx, pathOrURL, name, o.SHA256, tmp, newDir)
	if err != nil {
		return p, err
	}
	if o.FiltersAny {
		if err := os.WriteFile(filepath.Join(newDir, filtersAnyMarkerFile), nil, 0o644); err != nil {
			return p, err
		}
	}
	set, err := Load([]Source{{Name: newDir, Optional: true}}, nil)
	if err != nil {
		return p, err
	}
	// Rules that only lack rules of another pack may load beside it.
	broken := slices.DeleteFunc(slices.Clone(set.Problems), func(p Problem) bool { return p.Missing != "" })
	switch n := len(broken); {
	case len(set.Enabled) == 0 && len(set.Problems) == 0:
		return p, errors.New("there are no rules in it")
	case len(set.Enabled) == 0 && n == len(set.Problems):
		first := broken[0]
		first.File = strings.TrimPrefix(first.File, newDir+"/")
		return p, fmt.Errorf("none of its %d rules loads; the first: %s", n, first)
	}
	p = Pack{Name: name, Path: filepath.Join(f.Path, name), KindCounts: CountKinds(set.Enabled), Problems: len(set.Problems), Licenses: licenses}
	return p, replaceDir(p.Path, newDir, filepath.Join(tmp, "old"))
}

// replaceDir moves newDir to path. It moves what is at path to backup, and back if that
// fails.
func replaceDir(path, newDir, backup string) error {
	moved := os.Rename(path, backup)
	if moved != nil && !errors.Is(moved, fs.ErrNotExist) {
		return moved
	}
	if err := os.Rename(newDir, path); err != nil {
		if moved == nil {
			err = errors.Join(err, os.Rename(backup, path))
		}
		return err
	}
	return nil
}

// Remove deletes a pack.
func (f PackDir) Remove(name string) error {
	path := filepath.Join(f.Path, name)
	if info, err := os.Stat(path); !validPackName(name) || err != nil || !info.IsDir() {
		return ErrPackNotFound
	}
	// Moved away first, so that half of it is never loaded.
	tmp, err := os.MkdirTemp(f.Path, ".remove-")
	if err != nil {
		return err
	}
	return errors.Join(os.Rename(path, filepath.Join(tmp, name)), os.RemoveAll(tmp))
}

// Names returns the sorted names of the packs. A missing directory has none.
func (f PackDir) Names() ([]string, error) {
	entries, err := os.ReadDir(f.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && validPackName(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
