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

// An eventFile is a file of events.
type eventFile struct {
	name        string
	ext         string // without that of the compression, as in ".evtx"
	compression string // ".gz", ".zst" or ""
}

// eventFileExtensions are the extensions of files that are read in directories.
var eventFileExtensions = map[string]bool{".evtx": true, ".json": true, ".ndjson": true, ".jsonl": true, ".xml": true, zipExtension: true}

// eventExtensionsText are those of them that hold events themselves, for people.
const eventExtensionsText = ".evtx, .json, .ndjson, .jsonl, .xml"

func newEventFile(name string) eventFile {
	s := eventFile{name: name, ext: strings.ToLower(filepath.Ext(name))}
	switch s.ext {
	case ".gz", ".zst", ".zstd":
		s.compression = s.ext
		s.ext = strings.ToLower(filepath.Ext(strings.TrimSuffix(name, filepath.Ext(name))))
	}
	return s
}

// findEventFiles returns the files under paths. A file that is given by name is read
// whatever its extension; files in directories are read if their extension is
// known.
func findEventFiles(paths []string, p *Progress, onProblem func(error)) []eventFile {
	var all []eventFile
	for _, path := range paths {
		found, err := filesUnder(path, p)
		switch {
		case err != nil:
			onProblem(fmt.Errorf("read %s: %w", path, err))
		case len(found) == 0:
			onProblem(fmt.Errorf("read %s: no file in it is of events (%s)", path, eventExtensionsText))
		}
		all = append(all, found...)
	}
	return all
}

// filesUnder returns the files under one path.
func filesUnder(path string, p *Progress) ([]eventFile, error) {
	if path == stdinPath {
		return []eventFile{{name: path}}, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, errors.Unwrap(err) // the caller adds the path
	}
	if !info.IsDir() {
		p.Total.Add(info.Size())
		return []eventFile{newEventFile(path)}, nil
	}
	var all []eventFile
	err = filepath.WalkDir(filepath.Clean(path)+string(filepath.Separator), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if s := newEventFile(filepath.Clean(name)); eventFileExtensions[s.ext] {
			all = append(all, s)
			if info, err := d.Info(); err == nil {
				p.Total.Add(info.Size())
			}
		}
		return nil
	})
	return all, err
}

// stdinPath is the name of standard input.
const stdinPath = "-"

// ReadFile calls addEvent with each event of a file in order. addEvent may keep the
// bytes. It calls onSkipped with an error for each event that cannot be read.
func ReadFile(name string, addEvent func(raw []byte) error, onSkipped func(error)) error {
	return newEventFile(name).read(context.Background(), new(Progress), addEvent, onSkipped)
}

// read calls addEvent with each event until the file or ctx ends.
func (s eventFile) read(ctx context.Context, p *Progress, addEvent func([]byte) error, onSkipped func(error)) error {
	f := os.Stdin
	if s.name != stdinPath {
		var err error
		if f, err = os.Open(s.name); err != nil {
			return errors.Unwrap(err)
		}
		defer f.Close()
	}
	return s.readFrom(&countingReader{ctx, f, p}, nil, addEvent, onSkipped)
}

// readFrom reads a file's events from its bytes, which decompress to at most budget
// bytes; nil is no bound.
func (s eventFile) readFrom(file io.Reader, budget *int64, addEvent func([]byte) error, onSkipped func(error)) error {
	r := bufio.NewReaderSize(&budgetReader{file, budget}, 256<<10)
	switch s.compression {
	case ".gz":
		z, err := gzip.NewReader(r)
		if err != nil {
			return err
		}
		r = bufio.NewReaderSize(&budgetReader{z, budget}, 256<<10)
	case ".zst", ".zstd":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return err
		}
		defer z.Close()
		r = bufio.NewReaderSize(&budgetReader{z, budget}, 256<<10)
	}
	head, _ := r.Peek(8)
	switch {
	case bytes.Equal(head, []byte("ElfFile\x00")):
		return readEVTX(r, addEvent, onSkipped)
	case s.ext == ".evtx":
		return errors.New("not an event log")
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return errors.New("a zip archive: give it as a file whose name ends in .zip")
	case s.ext == ".xml", bytes.HasPrefix(bytes.TrimPrefix(head, utf8BOM), []byte("<")):
		return evtx.ReadXML(r, addEvent)
	}
	return readJSON(r, addEvent, onSkipped)
}

var utf8BOM = []byte("\xef\xbb\xbf")

// A countingReader counts the bytes read from a file. It fails once ctx ends.
type countingReader struct {
	ctx context.Context
	r   io.Reader
	p   *Progress
}

func (c *countingReader) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(b)
	c.p.Bytes.Add(int64(n))
	return n, err
}

func readEVTX(r io.Reader, addEvent func([]byte) error, onSkipped func(error)) error {
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
			onSkipped(err)
			continue
		}
		if err != nil {
			return err
		}
		if err := addEvent(bytes.Clone(rec.JSON)); err != nil {
			return err
		}
	}
}
