package ruleset

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ReadDisabled reads the ids of disabled rules from a file with an id a line. A
// missing file, and "", have none.
func ReadDisabled(file string) (map[string]bool, error) {
	disabled := make(map[string]bool)
	if file == "" {
		return disabled, nil
	}
	data, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read disabled rules: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		if id := strings.TrimSpace(line); id != "" {
			disabled[id] = true
		}
	}
	return disabled, nil
}

// SetDisabled adds ids to the file of disabled rules, or removes them. It replaces
// the file atomically; a Loader that watches the file reloads.
func SetDisabled(file string, ids []string, disabled bool) error {
	all, err := ReadDisabled(file)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if disabled {
			all[id] = true
		} else {
			delete(all, id)
		}
	}
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(strings.Join(slices.Sorted(maps.Keys(all)), "\n") + "\n")
	// The server may run as another user; ids are not secret.
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
