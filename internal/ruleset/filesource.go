package ruleset

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// A fileSource reads rules from files.
type fileSource struct {
	places       []Source
	disabledFile string     // ids of disabled rules, one a line
	mu           sync.Mutex // serialises changes of disabledFile
}

func (d *fileSource) read() (files []ruleFile, disabledIDs map[string]bool, err error) {
	disabled, err := ReadDisabled(d.disabledFile)
	if err != nil {
		return nil, nil, err
	}
	all, err := readFiles(d.places)
	return all, disabled, err
}

func (d *fileSource) sources() []Source { return d.places }

func (d *fileSource) setDisabled(id string, disabled bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return SetDisabled(d.disabledFile, []string{id}, disabled)
}

// fingerprint lists names, sizes and times of the rule files. It follows links,
// because a Kubernetes mount changes by pointing its links elsewhere.
func (d *fileSource) fingerprint() string {
	var b strings.Builder
	add := func(name string) {
		info, err := os.Stat(name)
		if err != nil {
			fmt.Fprintf(&b, "%s %v\n", name, err)
			return
		}
		fmt.Fprintf(&b, "%s %d %d\n", name, info.Size(), info.ModTime().UnixNano())
	}
	for _, s := range d.places {
		if s.FS != nil {
			continue
		}
		if info, err := os.Stat(s.Name); err != nil || !info.IsDir() {
			add(s.Name)
			continue
		}
		fs.WalkDir(os.DirFS(s.Name), ".", func(name string, e fs.DirEntry, err error) error {
			switch {
			case err != nil:
				fmt.Fprintf(&b, "%s %v\n", name, err)
			case isHidden(name, e):
				return fs.SkipDir
			case !e.IsDir():
				add(filepath.Join(s.Name, filepath.FromSlash(name)))
			}
			return nil
		})
	}
	if info, err := os.Stat(d.disabledFile); err == nil {
		fmt.Fprintf(&b, "off %d %d\n", info.Size(), info.ModTime().UnixNano())
	}
	return b.String()
}
