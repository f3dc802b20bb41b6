package detect

import (
	"archive/zip"
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

// maxRuleFile bounds one rule file; SigmaHQ's largest is a tenth of it.
const maxRuleFile = 4 << 20

// A Source is a place that rules come from.
type Source struct {
	Name string
	FS   fs.FS // for rules that are part of the program; nil: Name is a path
	// Optional is a path that may come into being later, and is without rules
	// until then.
	Optional bool
	// Pipeline is a file with a processing pipeline, which is applied to the
	// rules of all sources.
	Pipeline bool
}

// A file is one file of rules, or a pipeline, as read.
type file struct {
	Name     string `json:"name"`
	Data     []byte `json:"data"`
	Pipeline bool   `json:"pipeline,omitempty"`
}

// files returns the rule files of one source after the other, each in order of
// their names, so that of two rules with one id the first source's runs. A
// source is a directory (searched for .yml and .yaml), a file, or a .zip.
func files(sources []Source) ([]file, error) {
	var all []file
	for _, s := range sources {
		if s.Pipeline {
			data, err := readFile(os.DirFS(filepath.Dir(s.Name)), filepath.Base(s.Name))
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrPipeline, err)
			}
			all = append(all, file{Name: s.Name, Data: data, Pipeline: true})
			continue
		}
		fsys, root, prefix := s.FS, ".", s.Name+"/"
		if fsys == nil {
			info, err := os.Stat(s.Name)
			if s.Optional && errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("read rules: %w", err)
			}
			switch {
			case info.IsDir():
				fsys = os.DirFS(s.Name)
			case strings.EqualFold(filepath.Ext(s.Name), ".zip"):
				z, err := zip.OpenReader(s.Name)
				if err != nil {
					return nil, fmt.Errorf("read rules from %s: %w", s.Name, err)
				}
				defer z.Close()
				fsys = z
			default:
				fsys, root, prefix = os.DirFS(filepath.Dir(s.Name)), filepath.Base(s.Name), filepath.Dir(s.Name)+"/"
			}
		}
		from := len(all)
		err := fs.WalkDir(fsys, root, func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case hidden(name, d):
				return fs.SkipDir
			case d.IsDir():
				return nil
			}
			if ext := strings.ToLower(path.Ext(name)); name != root && ext != ".yml" && ext != ".yaml" {
				return nil
			}
			data, err := readFile(fsys, name)
			if err != nil {
				return err
			}
			all = append(all, file{Name: prefix + name, Data: data})
			if cases := casesOf(name); name == root && cases != name {
				// A rule that is named alone brings its cases.
				if data, err := readFile(fsys, cases); err == nil {
					all = append(all, file{Name: prefix + cases, Data: data})
				}
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read rules from %s: %w", s.Name, err)
		}
		slices.SortStableFunc(all[from:], func(a, b file) int { return strings.Compare(a.Name, b.Name) })
	}
	return all, nil
}

// hidden reports whether a folder is none of rules: that of a version control
// system, or where a mount of Kubernetes keeps what its links lead to.
func hidden(name string, d fs.DirEntry) bool {
	return d.IsDir() && name != "." && strings.HasPrefix(d.Name(), ".")
}

func readFile(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRuleFile+1))
	if err == nil && len(data) > maxRuleFile {
		err = fmt.Errorf("%s is larger than %d bytes", name, maxRuleFile)
	}
	return data, err
}

// ParseSources turns the values of --rules into sources; "builtin" names the
// program's own pack.
func ParseSources(names []string, builtin fs.FS) ([]Source, error) {
	var sources []Source
	for _, n := range names {
		if n == "builtin" {
			sources = append(sources, Source{Name: n, FS: builtin})
			continue
		}
		if _, err := os.Stat(n); err != nil {
			return nil, fmt.Errorf("read rules: %w", err)
		}
		sources = append(sources, Source{Name: filepath.Clean(n)})
	}
	return sources, nil
}
