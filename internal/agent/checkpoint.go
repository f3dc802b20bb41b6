package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
)

// loadCheckpoint returns where an input continues.
func (a *Agent) loadCheckpoint(input string) Position {
	if a.opt.Checkpoints == nil {
		return ""
	}
	p, err := a.opt.Checkpoints.Load(input)
	if err != nil {
		a.log.Warn("checkpoint not readable; the source starts at its beginning", "source", input, "error", err)
	}
	return p
}

// saveCheckpoint records that the events up to a position are spooled. A failure costs
// only a repeated upload, which the server recognises by the events' ids.
func (a *Agent) saveCheckpoint(input string, spooledUpTo Position) {
	if a.opt.Checkpoints == nil {
		return
	}
	if err := a.opt.Checkpoints.Save(input, spooledUpTo); err != nil {
		a.log.Warn("checkpoint not saved; a restart will read events again", "source", input, "error", err)
	}
}

// A CheckpointFile keeps checkpoints in a JSON file, which it replaces as a
// whole. It does not sync the file: a power loss may bring back an earlier
// position, which is safe, and kill -9 cannot. It is safe for concurrent use by
// one process.
type CheckpointFile struct {
	path string

	mu        sync.Mutex
	positions map[string]Position // nil: not read yet
}

// A checkpointFileContent is the content of the file.
type checkpointFileContent struct {
	Version   int                 `json:"version"` // 1
	Positions map[string]Position `json:"positions"`
}

// NewCheckpointFile returns the checkpoints in a file, which need not exist.
func NewCheckpointFile(path string) *CheckpointFile { return &CheckpointFile{path: path} }

// Load implements Checkpoints.
func (f *CheckpointFile) Load(input string) (Position, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.readIfNeeded()
	return f.positions[input], err
}

// Save implements Checkpoints.
func (f *CheckpointFile) Save(input string, p Position) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.readIfNeeded(); f.positions[input] == p {
		return nil
	}
	if p == "" {
		delete(f.positions, input)
	} else {
		f.positions[input] = p
	}
	data, err := json.Marshal(checkpointFileContent{Version: 1, Positions: f.positions})
	if err != nil {
		return fmt.Errorf("save checkpoints: %w", err)
	}
	if err := os.WriteFile(f.path+".new", data, 0o600); err != nil {
		return fmt.Errorf("save checkpoints: %w", err)
	}
	if err := os.Rename(f.path+".new", f.path); err != nil {
		return fmt.Errorf("save checkpoints: %w", err)
	}
	return nil
}

// readIfNeeded reads the file once. A file that cannot be read counts as empty.
func (f *CheckpointFile) readIfNeeded() error {
	if f.positions != nil {
		return nil
	}
	f.positions = make(map[string]Position)
	data, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var file checkpointFileContent
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	if err == nil && file.Version != 1 {
		err = fmt.Errorf("version %d is not known", file.Version)
	}
	if err != nil {
		return fmt.Errorf("read checkpoints %s: %w", f.path, err)
	}
	for input, p := range file.Positions {
		f.positions[input] = p
	}
	return nil
}
