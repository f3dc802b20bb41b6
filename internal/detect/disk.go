package detect

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// disk is rules in files of this machine.
type disk struct {
	sources []Source
	offFile string     // ids that are switched off, one a line
	mu      sync.Mutex // guards offFile, from its reading to its writing
}

func (d *disk) read() ([]file, map[string]bool, error) {
	off, err := ReadOff(d.offFile)
	if err != nil {
		return nil, nil, err
	}
	all, err := files(d.sources)
	return all, off, err
}

func (d *disk) switchOff(id string, off bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return SwitchOff(d.offFile, []string{id}, off)
}

// stamp describes the state of the rule files. Links are followed, as
// loading does: a mount of Kubernetes changes by where its links lead.
func (d *disk) stamp() string {
	var b strings.Builder
	add := func(name string) {
		info, err := os.Stat(name)
		if err != nil {
			fmt.Fprintf(&b, "%s %v\n", name, err)
			return
		}
		fmt.Fprintf(&b, "%s %d %d\n", name, info.Size(), info.ModTime().UnixNano())
	}
	for _, s := range d.sources {
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
			case hidden(name, e):
				return fs.SkipDir
			case !e.IsDir():
				add(filepath.Join(s.Name, filepath.FromSlash(name)))
			}
			return nil
		})
	}
	if info, err := os.Stat(d.offFile); err == nil {
		fmt.Fprintf(&b, "off %d %d\n", info.Size(), info.ModTime().UnixNano())
	}
	return b.String()
}
