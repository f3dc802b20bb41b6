package backup

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/picket-edr/picket"
)

// Verify reads an archive and checks that it is complete, and that every file in it
// has the size and hash of the manifest. An archive that is not has an error of
// picket.ErrInvalid.
func Verify(ctx context.Context, file string) (Manifest, error) {
	m, err := readFile(ctx, file, func(_ string, _ int64, content io.Reader) error {
		_, err := io.Copy(io.Discard, content)
		return err
	})
	if err != nil {
		return m, fmt.Errorf("verify %s: %w", file, err)
	}
	return m, nil
}

// A visitor reads the whole content of a file of an archive.
type visitor func(name string, size int64, content io.Reader) error

func readFile(ctx context.Context, file string, visit visitor) (Manifest, error) {
	f, err := os.Open(file)
	if err != nil {
		return Manifest{}, err
	}
	defer f.Close()
	return read(ctx, f, visit)
}

// maxWindowBytes bounds the memory of decompression.
const maxWindowBytes = 8 << 20

// read reads an archive and compares it with its manifest. What visit has seen is
// valid only if there is no error.
func read(ctx context.Context, r io.Reader, visit visitor) (m Manifest, err error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindowBytes), zstd.WithDecoderLowmem(true))
	if err != nil {
		return m, err
	}
	defer z.Close()
	t := tar.NewReader(z)
	var found []File
	seen := make(map[string]bool)
	nameBytes := 0
	for {
		if err := ctx.Err(); err != nil {
			return m, err
		}
		h, err := t.Next()
		switch {
		case errors.Is(err, io.EOF):
			return m, fmt.Errorf("it is cut short: there is no manifest: %w", picket.ErrInvalid)
		case err != nil:
			return m, damaged(err)
		case h.Typeflag != tar.TypeReg || isSparse(h):
			return m, fmt.Errorf("%.100q is no plain file: %w", h.Name, picket.ErrInvalid)
		}
		if h.Name == manifestName {
			if m, err = readManifest(t, h.Size); err != nil {
				return m, err
			}
			break
		}
		name, ok := strings.CutPrefix(h.Name, dataPrefix)
		if !ok {
			name = ""
		}
		if err := checkName(name); err != nil {
			return m, err
		}
		nameBytes += len(name)
		switch {
		case seen[name]:
			return m, fmt.Errorf("%q is there twice: %w", name, picket.ErrInvalid)
		case len(found) == maxFiles || nameBytes > maxNamesBytes:
			return m, fmt.Errorf("it has more than %d files: %w", len(found), picket.ErrInvalid)
		}
		seen[name] = true
		hash := sha256.New()
		content := &entryReader{ctx: ctx, r: io.TeeReader(t, hash)}
		if err := visit(name, h.Size, content); err != nil {
			return m, fmt.Errorf("%s: %w", name, err)
		}
		found = append(found, File{Name: name, Bytes: h.Size, SHA256: hexHash(hash.Sum(nil))})
	}
	if _, err := t.Next(); err == nil {
		return m, fmt.Errorf("the manifest is not its last entry: %w", picket.ErrInvalid)
	} else if !errors.Is(err, io.EOF) {
		return m, damaged(err)
	}
	if err := checkEnd(z); err != nil { // also checks the checksum of the last frame
		return m, err
	}
	return m, m.compare(found)
}

// isSparse reports whether a file is longer than what the archive has of it.
func isSparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse") {
			return true
		}
	}
	return false
}

func readManifest(r io.Reader, size int64) (Manifest, error) {
	if size > maxManifestBytes {
		return Manifest{}, fmt.Errorf("the manifest has %d bytes, more than %d: %w", size, maxManifestBytes, picket.ErrInvalid)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return Manifest{}, damaged(err)
	}
	return parseManifest(text)
}

// checkEnd reads what follows the last entry, which must be zeros.
func checkEnd(r io.Reader) error {
	buf := make([]byte, 4096)
	for total := 0; ; {
		n, err := r.Read(buf)
		for _, b := range buf[:n] {
			if b != 0 {
				return fmt.Errorf("there is data after its end: %w", picket.ErrInvalid)
			}
		}
		if total += n; total > 1<<20 {
			return fmt.Errorf("it does not end: %w", picket.ErrInvalid)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return damaged(err)
		}
	}
}

// An entryReader reads a file of an archive. Its errors are picket.ErrInvalid.
type entryReader struct {
	ctx context.Context
	r   io.Reader
}

func (a *entryReader) Read(p []byte) (int, error) {
	if err := a.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := a.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = damaged(err)
	}
	return n, err
}

func damaged(err error) error {
	return fmt.Errorf("it is damaged, or no archive of picket: %w: %w", err, picket.ErrInvalid)
}
