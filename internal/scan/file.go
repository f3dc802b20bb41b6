package scan

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/picket-edr/picket/internal/evtx"
)

// A source is a file of events.
type source struct {
	name string
	kind string // extension without compression, as in ".evtx"
	pack string // ".gz", ".zst" or ""
}

// kinds are the files that a directory is searched for.
var kinds = map[string]bool{".evtx": true, ".json": true, ".ndjson": true, ".jsonl": true, ".xml": true}

func sourceOf(name string) source {
	s := source{name: name, kind: strings.ToLower(filepath.Ext(name))}
	switch s.kind {
	case ".gz", ".zst", ".zstd":
		s.pack = s.kind
		s.kind = strings.ToLower(filepath.Ext(strings.TrimSuffix(name, filepath.Ext(name))))
	}
	return s
}

// list finds the files under paths. A file that is named is read whatever its
// name; one in a directory when its name says that it is of events.
func list(paths []string, p *Progress, problem func(error)) []source {
	var all []source
	for _, path := range paths {
		found, err := under(path, p)
		switch {
		case err != nil:
			problem(fmt.Errorf("read %s: %w", path, err))
		case len(found) == 0:
			problem(fmt.Errorf("read %s: no file in it is of events (.evtx, .json, .ndjson, .jsonl, .xml)", path))
		}
		all = append(all, found...)
	}
	return all
}

// under finds the files that one path names.
func under(path string, p *Progress) ([]source, error) {
	if path == stdin {
		return []source{{name: path}}, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, errors.Unwrap(err) // the path is said by then
	}
	if !info.IsDir() {
		p.Total.Add(info.Size())
		return []source{sourceOf(path)}, nil
	}
	var all []source
	err = filepath.WalkDir(filepath.Clean(path)+string(filepath.Separator), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if s := sourceOf(filepath.Clean(name)); kinds[s.kind] {
			all = append(all, s)
			if info, err := d.Info(); err == nil {
				p.Total.Add(info.Size())
			}
		}
		return nil
	})
	return all, err
}

// stdin is the name of standard input.
const stdin = "-"

// Read calls add with each event of a file, in order; add keeps the bytes.
// skipped hears of events that can't be read.
func Read(name string, add func(raw []byte) error, skipped func(error)) error {
	return sourceOf(name).read(context.Background(), new(Progress), add, skipped)
}

// read calls add until the file or ctx ends.
func (s source) read(ctx context.Context, p *Progress, add func([]byte) error, skipped func(error)) error {
	f := os.Stdin
	if s.name != stdin {
		var err error
		if f, err = os.Open(s.name); err != nil {
			return errors.Unwrap(err)
		}
		defer f.Close()
	}
	r := bufio.NewReaderSize(&counter{ctx, f, p}, 256<<10)
	switch s.pack {
	case ".gz":
		z, err := gzip.NewReader(r)
		if err != nil {
			return err
		}
		r = bufio.NewReaderSize(z, 256<<10)
	case ".zst", ".zstd":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return err
		}
		defer z.Close()
		r = bufio.NewReaderSize(z, 256<<10)
	}
	head, _ := r.Peek(8)
	switch {
	case bytes.Equal(head, []byte("ElfFile\x00")):
		return readEVTX(r, add, skipped)
	case s.kind == ".evtx":
		return errors.New("not an event log")
	case s.kind == ".xml", bytes.HasPrefix(bytes.TrimPrefix(head, bom), []byte("<")):
		return evtx.ReadXML(r, add)
	}
	return readJSON(r, add, skipped)
}

var bom = []byte("\xef\xbb\xbf")

// A counter counts what is read of a file, until ctx ends.
type counter struct {
	ctx context.Context
	r   io.Reader
	p   *Progress
}

func (c *counter) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(b)
	c.p.Bytes.Add(int64(n))
	return n, err
}

func readEVTX(r io.Reader, add func([]byte) error, skipped func(error)) error {
	log, err := evtx.NewReader(r)
	if err != nil {
		return err
	}
	for {
		rec, err := log.Next()
		if err == io.EOF {
			return nil
		}
		if _, ok := errors.AsType[*evtx.RecordError](err); ok {
			skipped(err)
			continue
		}
		if err != nil {
			return err
		}
		if err := add(bytes.Clone(rec.JSON)); err != nil {
			return err
		}
	}
}
