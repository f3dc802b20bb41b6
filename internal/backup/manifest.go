package backup

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"github.com/picket-edr/picket"
)

// formatVersion is the version of the archive's format.
const formatVersion = 1

const (
	manifestName = "manifest.json" // in the archive
	dataPrefix   = "data/"         // of the names of all other entries
)

// Bounds of an archive, far above those of a server with the largest rule packs.
const (
	maxFiles         = 400_000
	maxNameBytes     = 1024
	maxNamesBytes    = 32 << 20 // of all names together
	maxManifestBytes = 128 << 20
)

// A Manifest describes what an archive holds.
type Manifest struct {
	Format  int       `json:"format"`
	Picket  string    `json:"picket"`  // the version that wrote it
	Created time.Time `json:"created"` // when the backup started
	// Store is the engine of the store: sqlite, or mongodb if the store is not in the
	// archive.
	Store string `json:"store"`
	Files []File `json:"files"`
	// LeftOut are paths in the data directory that are not in the archive.
	LeftOut []string `json:"left_out,omitempty"`
}

// A File is one file of an archive.
type File struct {
	Name   string `json:"name"` // in the data directory, with slashes
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Bytes returns the size of all files together.
func (m *Manifest) Bytes() (n int64) {
	for i := range m.Files {
		n += m.Files[i].Bytes
	}
	return n
}

// parseManifest parses a manifest. Its errors are picket.ErrInvalid.
func parseManifest(text []byte) (m Manifest, err error) {
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("read manifest: %w: %w", err, picket.ErrInvalid)
	}
	if m.Format != formatVersion {
		return m, fmt.Errorf("the archive has format %d, and this picket reads %d: %w", m.Format, formatVersion, picket.ErrInvalid)
	}
	return m, nil
}

// compare returns an error if the files of an archive, in their order, are not those
// of the manifest. It is picket.ErrInvalid.
func (m *Manifest) compare(found []File) error {
	for i, f := range found {
		if i == len(m.Files) {
			return fmt.Errorf("%s is not in the manifest: %w", f.Name, picket.ErrInvalid)
		}
		switch want := m.Files[i]; {
		case f.Name != want.Name:
			return fmt.Errorf("%s is where the manifest has %q: %w", f.Name, want.Name, picket.ErrInvalid)
		case f.Bytes != want.Bytes:
			return fmt.Errorf("%s has %d bytes, and %d in the manifest: %w", f.Name, f.Bytes, want.Bytes, picket.ErrInvalid)
		case f.SHA256 != want.SHA256:
			return fmt.Errorf("%s has another SHA-256 than in the manifest: %w", f.Name, picket.ErrInvalid)
		}
	}
	if n := len(found); n < len(m.Files) {
		return fmt.Errorf("%q of the manifest is missing: %w", m.Files[n].Name, picket.ErrInvalid)
	}
	return nil
}

// checkName returns an error if a file of an archive may not have this name: it must
// be a path inside the data directory on every system.
func checkName(name string) error {
	bad := func(r rune) bool {
		return r == '\\' || r == ':' || r == unicode.ReplacementChar || unicode.IsControl(r)
	}
	switch {
	case name == "" || len(name) > maxNameBytes || strings.ContainsFunc(name, bad):
	case !filepath.IsLocal(filepath.FromSlash(name)) || filepath.ToSlash(filepath.Clean(filepath.FromSlash(name))) != name:
	case name == restoreStagingName || strings.HasPrefix(name, restoreStagingName+"/"):
	default:
		return nil
	}
	return fmt.Errorf("%.100q is no name of a file in a data directory: %w", name, picket.ErrInvalid)
}

func hexHash(sum []byte) string { return hex.EncodeToString(sum) }
