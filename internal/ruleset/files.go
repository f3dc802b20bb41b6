package ruleset

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

// maxRuleFileBytes bounds a rule file, at ten times SigmaHQ's largest.
const maxRuleFileBytes = 4 << 20

// A Source is a location of rules: a directory, a file, a .zip archive, or a file
// system.
type Source struct {
	Name string
	FS   fs.FS // for embedded rules; nil: Name is a path
	// Optional: the path may not exist yet.
	Optional bool
	// Pipeline: the file is a processing pipeline for the rules of all sources.
	Pipeline bool
	// Packs: each subdirectory is a pack, whose filters apply to the pack's own
	// rules only, unless PackDir.Add was told otherwise.
	Packs bool
}

// A ruleFile is a file with rules, rule tests or a pipeline.
type ruleFile struct {
	Name     string `json:"name"`
	Data     []byte `json:"data"`
	Pipeline bool   `json:"pipeline,omitempty"`
	// Pack is the only pack that filters in the file apply to; "" means all rules.
	Pack string `json:"pack,omitempty"`
	// InPack is the pack that the file is part of, "builtin" for picket's own.
	InPack string `json:"in_pack,omitempty"`
}

// readFiles reads the rule files (.yml and .yaml) of all sources, in the order of the
// sources and sorted by name within a source. Of two rules with the same id the
// first is used.
func readFiles(sources []Source) ([]ruleFile, error) {
	var all []ruleFile
	for _, s := range sources {
		if s.Pipeline {
			data, err := readRuleFile(os.DirFS(filepath.Dir(s.Name)), filepath.Base(s.Name))
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrPipeline, err)
			}
			all = append(all, ruleFile{Name: s.Name, Data: data, Pipeline: true})
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
			case isHidden(name, d):
				return fs.SkipDir
			case d.IsDir():
				return nil
			}
			if ext := strings.ToLower(path.Ext(name)); name != root && ext != ".yml" && ext != ".yaml" {
				return nil
			}
			data, err := readRuleFile(fsys, name)
			if err != nil {
				return err
			}
			all = append(all, ruleFile{Name: prefix + name, Data: data, Pack: s.packConfiningFilters(fsys, name), InPack: s.packOf(name)})
			if cases := testFileOf(name); name == root && cases != name {
				// A single rule comes with its tests.
				if data, err := readRuleFile(fsys, cases); err == nil {
					all = append(all, ruleFile{Name: prefix + cases, Data: data})
				}
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read rules from %s: %w", s.Name, err)
		}
		slices.SortStableFunc(all[from:], func(a, b ruleFile) int { return strings.Compare(a.Name, b.Name) })
	}
	return all, nil
}

// emptySourceProblems reports the sources that have no rule, given the files of all
// sources: their paths may be wrong.
func emptySourceProblems(sources []Source, all []ruleFile) (problems []Problem) {
	for _, s := range sources {
		isIn := func(f ruleFile) bool {
			return (strings.HasPrefix(f.Name, s.Name+"/") || filepath.Clean(f.Name) == s.Name) && !isNotARule(f.Data)
		}
		if !s.Optional && !s.Pipeline && !slices.ContainsFunc(all, isIn) {
			problems = append(problems, Problem{File: s.Name, Reason: "there are no rules in it", Hint: "is it the right path?", EmptySource: true})
		}
	}
	return problems
}

// packOf returns the pack that a file is part of, "" if none.
func (s *Source) packOf(name string) string {
	pack, _, inFolder := strings.Cut(name, "/")
	switch {
	case s.FS != nil:
		return s.Name
	case s.Packs && inFolder:
		return pack
	}
	return ""
}

// packConfiningFilters returns the pack that the filters in a file are confined to, "" if
// none.
func (s *Source) packConfiningFilters(fsys fs.FS, name string) string {
	pack := s.packOf(name)
	if !s.Packs || pack == "" {
		return ""
	}
	if _, err := fs.Stat(fsys, pack+"/"+filtersAnyMarkerFile); err == nil {
		return ""
	}
	return pack
}

// isHidden reports whether a directory is skipped: those of version control systems,
// and those to which the links in a Kubernetes mount point.
func isHidden(name string, d fs.DirEntry) bool {
	return d.IsDir() && name != "." && strings.HasPrefix(d.Name(), ".")
}

func readRuleFile(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRuleFileBytes+1))
	if err == nil && len(data) > maxRuleFileBytes {
		err = fmt.Errorf("%s is larger than %d bytes", name, maxRuleFileBytes)
	}
	return data, err
}

// ParseSources converts values of --rules to sources. "builtin" is picket's own pack.
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
