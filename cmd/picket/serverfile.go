package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A serverRecord is what a server writes into its data directory when it starts, so that
// doctor checks what that server uses.
type serverRecord struct {
	PID     int    `json:"pid"`
	Version string `json:"version"`
	Listen  string `json:"listen"` // its address
	// Flags are the values of recordedFlags: a string, or a list for a repeatable flag.
	Flags map[string]any `json:"flags"`
	// Hidden are the flags whose values may contain a password, and are left out.
	Hidden []string `json:"hidden,omitempty"`
}

// recordedFlags are the flags of picket serve that are in a serverRecord.
var recordedFlags = []string{"queue", "store", "cache", "redis-durability", "min-free-disk", "rules", "tls-cert"}

// newServerRecord returns the record of a server that cmd starts and that
// listens on an address.
func newServerRecord(cmd *cobra.Command, listen string) serverRecord {
	r := serverRecord{PID: os.Getpid(), Version: version, Listen: listen, Flags: make(map[string]any)}
	for _, name := range recordedFlags {
		f := cmd.Flags().Lookup(name)
		list, repeatable := f.Value.(pflag.SliceValue)
		switch value := f.Value.String(); {
		case repeatable:
			r.Flags[name] = absolutePaths(list.GetSlice())
		case mayHoldPassword(value):
			r.Hidden = append(r.Hidden, name)
		case name == "tls-cert" && value != "":
			r.Flags[name] = absolutePaths([]string{value})[0]
		default:
			r.Flags[name] = value
		}
	}
	return r
}

// mayHoldPassword reports whether the value of a flag can be a URL with a password.
func mayHoldPassword(value string) bool {
	value = strings.ToLower(value)
	return strings.Contains(value, "://") && (strings.Contains(value, "@") || strings.Contains(value, "password") || strings.Contains(value, "token"))
}

// absolutePaths returns the values of --rules or --tls-cert as another working directory
// needs them.
func absolutePaths(values []string) []string {
	all := slices.Clone(values)
	for i, value := range values {
		if value == "builtin" || value == "store" {
			continue
		}
		if path, err := filepath.Abs(value); err == nil {
			all[i] = path
		}
	}
	return all
}

// write replaces the record in a data directory.
func (r serverRecord) write(dir dataDir) error {
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(dir.serverFile(), append(content, '\n'))
}

// replaceFile writes a file that only its user can read, as a whole or not at all.
func replaceFile(path string, content []byte) error {
	next := path + ".tmp"
	if err := os.WriteFile(next, content, 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// readServerRecord returns the record of the last server of a data directory, nil if there
// is none.
func readServerRecord(dir dataDir) (*serverRecord, error) {
	content, err := os.ReadFile(dir.serverFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var r serverRecord
	if err == nil {
		err = json.Unmarshal(content, &r)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", dir.serverFile(), err)
	}
	return &r, nil
}

// applyTo sets the flags of cmd that have their defaults to what the server uses. It
// returns those that stay unknown, because the record does not have their passwords.
func (r *serverRecord) applyTo(cmd *cobra.Command) (hiddenFlags []string, err error) {
	for name, value := range r.Flags {
		f := cmd.Flags().Lookup(name)
		if f == nil || isSet(f) || name == "rules" && slices.Contains(asStrings(value), "store") {
			continue
		}
		if err := setFlag(f, value); err != nil {
			return nil, fmt.Errorf("read the server's flags: --%s: %w", name, err)
		}
	}
	for _, name := range r.Hidden {
		if f := cmd.Flags().Lookup(name); f != nil && !isSet(f) {
			hiddenFlags = append(hiddenFlags, name)
		}
	}
	return hiddenFlags, nil
}

func asStrings(value any) (all []string) {
	list, _ := value.([]any)
	for _, v := range list {
		all = append(all, fmt.Sprint(v))
	}
	return all
}

// isSet reports whether a flag was set, on the command line, in the environment or in the
// config file.
func isSet(f *pflag.Flag) bool { return f.Changed || f.Value.String() != f.DefValue }
