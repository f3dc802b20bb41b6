package scan

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
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

// maxLine bounds one event.
const maxLine = 16 << 20

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
		err := filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			if s := sourceOf(name); name == path || kinds[s.kind] {
				all = append(all, s)
				if info, err := d.Info(); err == nil {
					p.Total.Add(info.Size())
				}
			}
			return nil
		})
		if err != nil {
			problem(fmt.Errorf("read %s: %w", path, err))
		}
	}
	return all
}

// Read calls add with each event of a file, in order; add keeps the bytes.
// skipped hears of events that can't be read.
func Read(name string, add func(raw []byte) error, skipped func(error)) error {
	return sourceOf(name).read(new(Progress), add, skipped)
}

func (s source) read(p *Progress, add func([]byte) error, skipped func(error)) error {
	f, err := os.Open(s.name)
	if err != nil {
		return err
	}
	defer f.Close()
	r := bufio.NewReaderSize(&counter{f, p}, 256<<10)
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
		return readXML(r, add)
	}
	return readJSON(r, s.name, add, skipped)
}

var bom = []byte("\xef\xbb\xbf")

// A counter counts what is read of a file.
type counter struct {
	r io.Reader
	p *Progress
}

func (c *counter) Read(b []byte) (int, error) {
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

// readJSON reads lines, where the first line is an event by itself, or else
// JSON texts one after another: objects, or arrays of them.
func readJSON(r *bufio.Reader, name string, add func([]byte) error, skipped func(error)) error {
	if b, _ := r.Peek(len(bom)); bytes.Equal(b, bom) {
		r.Discard(len(bom))
	}
	if head, _ := r.Peek(r.Size()); !firstLineIsEvent(head) {
		return readTexts(r, add)
	}
	for n := 1; ; n++ {
		line, err := readLine(r)
		if text := bytes.TrimSpace(line); len(text) > 0 {
			if text[0] != '{' || text[len(text)-1] != '}' {
				skipped(fmt.Errorf("read %s: line %d is not an event", name, n))
			}
			if err := add(text); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func firstLineIsEvent(head []byte) bool {
	head = bytes.TrimLeft(head, " \t\r\n")
	if len(head) == 0 || head[0] != '{' {
		return false
	}
	line, _, found := bytes.Cut(head, []byte("\n"))
	// A line that does not end in what was peeked at is a long one.
	return !found || json.Valid(line)
}

// readLine returns the next line in bytes of its own.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if err != bufio.ErrBufferFull {
			return line, err
		}
		if len(line) > maxLine {
			return nil, fmt.Errorf("a line is longer than %d bytes", maxLine)
		}
	}
}

func readTexts(r io.Reader, add func([]byte) error) error {
	d := json.NewDecoder(r)
	for {
		var text json.RawMessage
		if err := decodeNext(d, &text); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if text == nil { // into or out of an array
			continue
		}
		if err := add(text); err != nil {
			return err
		}
	}
}

// decodeNext reads the next value, or the bracket of an array around values.
func decodeNext(d *json.Decoder, text *json.RawMessage) error {
	if d.More() {
		// Only at the top can an array be the list of events.
		if b, err := peek(d); err == nil && b == '[' && d.InputOffset() == 0 {
			_, err := d.Token()
			return err
		}
		return d.Decode(text)
	}
	_, err := d.Token()
	return err
}

// peek returns the first byte of what the decoder has buffered, space apart.
func peek(d *json.Decoder) (byte, error) {
	b := bufio.NewReader(d.Buffered())
	for {
		c, err := b.ReadByte()
		if err != nil || c > ' ' {
			return c, err
		}
	}
}
