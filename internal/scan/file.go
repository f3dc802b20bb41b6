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
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/picket-edr/picket/internal/evtx"
)

// An eventFile is a file of events.
type eventFile struct {
	name        string
	ext         string // without that of the compression, as in ".evtx"
	compression string // ".gz", ".zst" or ""
	live        bool   // a pipe or a terminal, which may still be written
	modified    time.Time
}

// evtxMagic is the start of an event log.
const evtxMagic = "ElfFile\x00"

// eventFileExtensions are the extensions of files that are read in directories.
var eventFileExtensions = map[string]bool{".evtx": true, ".json": true, ".ndjson": true, ".jsonl": true, ".xml": true, logExtension: true, zipExtension: true}

// jsonExtensions are those of files that are not taken for text logs.
var jsonExtensions = map[string]bool{".json": true, ".ndjson": true, ".jsonl": true}

// logExtension is that of text logs.
const logExtension = ".log"

// eventExtensionsText are those of them that hold events themselves, for people.
const eventExtensionsText = ".evtx, .json, .ndjson, .jsonl, .xml, .log"

func newEventFile(name string) eventFile {
	s := eventFile{name: name, ext: strings.ToLower(filepath.Ext(name)), modified: time.Now()}
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
		return []eventFile{newEventFile(path)}, nil
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

// An eventSink takes the records of a file in order.
type eventSink interface {
	// addRawEvent adds an event, and keeps its bytes.
	addRawEvent(raw []byte) error
	// addChunk adds the records of a chunk of an event log.
	addChunk(evtx.Chunk) error
	// skipRecord reports a record that cannot be read.
	skipRecord(error)
	// flush says that the next record may be long in coming.
	flush() error
}

// read adds each event until the file or ctx ends.
func (s eventFile) read(ctx context.Context, p *Progress, to eventSink) error {
	f := os.Stdin
	if s.name != stdinPath {
		var err error
		if f, err = os.Open(s.name); err != nil {
			return errors.Unwrap(err)
		}
		defer f.Close()
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Unwrap(err)
	}
	if s.live = !info.Mode().IsRegular(); !s.live {
		s.modified = info.ModTime()
	}
	return s.readFrom(&countingReader{ctx, f, p}, nil, to)
}

// readFrom reads a file's events from its bytes, which decompress to at most budget
// bytes; nil is no bound.
func (s eventFile) readFrom(file io.Reader, budget *int64, to eventSink) error {
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
	head, _ := r.Peek(len(evtxMagic))
	switch {
	case string(head) == evtxMagic:
		return readEVTX(r, to)
	case s.ext == ".evtx":
		return errors.New("not an event log")
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return errors.New("a zip archive: give it as a file whose name ends in .zip")
	case s.ext == ".xml", bytes.HasPrefix(bytes.TrimPrefix(head, utf8BOM), []byte("<")):
		return evtx.ReadXML(r, to.addRawEvent)
	}
	return s.readText(r, to)
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

func readEVTX(r io.Reader, to eventSink) error {
	log, err := evtx.NewReader(r)
	if err != nil {
		return err
	}
	for {
		c, err := log.NextChunk()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := to.addChunk(c); err != nil {
			return err
		}
	}
}
