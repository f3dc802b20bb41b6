// Package rulepack keeps rule packs in a folder of a server's data directory:
// it takes a folder, a file, an archive or what a URL leads to, checks it, and
// puts it in its place in one step. The server's loader (package detect)
// follows the folder; this package never talks to it.
//
// Promise: a pack is in place whole or not at all, and the one before stays
// until then. Nothing is written outside the folder, whatever an archive says,
// and sizes and times are bounded.
package rulepack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/picket-edr/picket/internal/detect"
)

// A Pack is what was installed.
type Pack struct {
	Name     string   `json:"name"`
	Path     string   `json:"path"`
	Rules    int      `json:"rules"`    // correlations and filters too
	Problems int      `json:"problems"` // rules that do not load
	Licenses []string `json:"licenses"` // files by their names within Path
}

// Limits bound what a pack may take.
type Limits struct {
	Download int64 // bytes of an archive or file from the network
	Unpacked int64 // bytes of all files together
	Files    int   // entries of an archive
}

// DefaultLimits are some fifty times what SigmaHQ's whole repository takes.
var DefaultLimits = Limits{Download: 256 << 20, Unpacked: 1 << 30, Files: 100_000}

// A Folder is where packs are, each in a folder of its own.
type Folder struct {
	Path   string
	Limits Limits
}

// Errors that a user can do something about.
var (
	ErrPlainHTTP = errors.New("plain http can be changed on its way")
	ErrName      = errors.New("a name is letters, digits, dots, dashes, underscores and plus signs, 64 at most, and not builtin")
	ErrNoPack    = errors.New("there is no such pack")
)

// Add installs what from names, which is a folder, a .yml or .zip file, or the
// URL of such a file or of a repository on GitHub. It takes the place of a pack
// of the same name. Without a name, one is made of from. A pack of which no
// rule loads is refused.
func (f Folder) Add(ctx context.Context, from, name string) (p Pack, err error) {
	if name == "" {
		name = NameOf(from)
	}
	if !validName(name) {
		return p, fmt.Errorf("%q: %w", name, ErrName)
	}
	if err := os.MkdirAll(f.Path, 0o755); err != nil {
		return p, err
	}
	// Names with a dot before them are none of rules: the loader passes over them.
	tmp, err := os.MkdirTemp(f.Path, ".add-")
	if err != nil {
		return p, err
	}
	defer os.RemoveAll(tmp)
	fresh := filepath.Join(tmp, "pack")
	if err := os.Mkdir(fresh, 0o755); err != nil {
		return p, err
	}
	licenses, err := f.collect(ctx, from, name, tmp, fresh)
	if err != nil {
		return p, err
	}
	set, err := detect.Load([]detect.Source{{Name: fresh}}, nil)
	if err != nil {
		return p, err
	}
	// What lacks nothing but rules of another pack may well load beside it.
	broken := slices.DeleteFunc(slices.Clone(set.Problems), func(p detect.Problem) bool { return p.Missing != "" })
	switch n := len(broken); {
	case len(set.On) == 0 && len(set.Problems) == 0:
		return p, errors.New("there are no rules in it")
	case len(set.On) == 0 && n == len(set.Problems):
		first := broken[0]
		first.File = strings.TrimPrefix(first.File, fresh+"/")
		return p, fmt.Errorf("none of its %d rules loads; the first: %s", n, first)
	}
	p = Pack{Name: name, Path: filepath.Join(f.Path, name), Rules: len(set.On), Problems: len(set.Problems), Licenses: licenses}
	return p, replace(p.Path, fresh, filepath.Join(tmp, "old"))
}

// replace puts fresh in the place of what is at path, which goes to aside, and
// comes back if that fails.
func replace(path, fresh, aside string) error {
	moved := os.Rename(path, aside)
	if moved != nil && !errors.Is(moved, fs.ErrNotExist) {
		return moved
	}
	if err := os.Rename(fresh, path); err != nil {
		if moved == nil {
			err = errors.Join(err, os.Rename(aside, path))
		}
		return err
	}
	return nil
}

// Remove deletes a pack.
func (f Folder) Remove(name string) error {
	path := filepath.Join(f.Path, name)
	if info, err := os.Stat(path); !validName(name) || err != nil || !info.IsDir() {
		return ErrNoPack
	}
	// It goes in one step, so that no half of it is ever loaded.
	tmp, err := os.MkdirTemp(f.Path, ".remove-")
	if err != nil {
		return err
	}
	return errors.Join(os.Rename(path, filepath.Join(tmp, name)), os.RemoveAll(tmp))
}

// Names lists the packs, in order. A folder that is not there has none.
func (f Folder) Names() ([]string, error) {
	entries, err := os.ReadDir(f.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && validName(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// PackOf returns the name of the pack that a rule's file belongs to, "" if it
// is in none.
func (f Folder) PackOf(file string) string {
	rest, ok := strings.CutPrefix(file, filepath.Clean(f.Path)+"/")
	if name, _, in := strings.Cut(rest, "/"); ok && in {
		return name
	}
	return ""
}
