package detect

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

// ReadOff reads the ids of the rules that are switched off, one a line. A file
// that is not there, and "", hold none.
func ReadOff(file string) (map[string]bool, error) {
	off := make(map[string]bool)
	if file == "" {
		return off, nil
	}
	data, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the rules that are switched off: %w", err)
	}
	for _, id := range strings.Fields(string(data)) {
		off[id] = true
	}
	return off, nil
}

// SwitchOff adds ids to the file of the rules that are switched off, or takes
// them out of it. A Loader that watches the file follows. The file is replaced
// in one step.
func SwitchOff(file string, ids []string, off bool) error {
	all, err := ReadOff(file)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if off {
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
	// The server may be another user than the one who switches; ids are no secret.
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
