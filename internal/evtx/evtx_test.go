package evtx_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket/internal/evtx"
	"github.com/picket-edr/picket/internal/testenv"
)

// The regression cases have each event as an event log, and as JSON that another
// reader made of it. Both are equal.
func TestAgainstOtherReader(t *testing.T) {
	dir := filepath.Join(testenv.ExternalDataDir(t), "regression")
	logs := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".evtx" {
			return err
		}
		other, err := os.Open(strings.TrimSuffix(path, ".evtx") + ".json")
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		defer other.Close()
		logs++
		name, _ := filepath.Rel(dir, path)
		if diff := cmp.Diff(decodeAll(t, other), readAll(t, path)); diff != "" {
			t.Errorf("%s: (-other +got)\n%s", name, diff)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d logs", logs)
}

func decodeAll(t *testing.T, r io.Reader) (events []any) {
	t.Helper()
	for d := json.NewDecoder(r); ; {
		var v any
		if err := d.Decode(&v); err == io.EOF {
			return events
		} else if err != nil {
			t.Fatal(err)
		}
		events = append(events, trimmed(v))
	}
}

// trimmed drops the space around strings, which the other reader does.
func trimmed(v any) any {
	switch v := v.(type) {
	case string:
		return strings.TrimSpace(v)
	case map[string]any:
		for k, m := range v {
			v[k] = trimmed(m)
		}
	}
	return v
}

func readAll(t *testing.T, path string) (events []any) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := evtx.NewReader(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	var d evtx.Decoder
	for {
		c, err := r.NextChunk()
		if err == io.EOF {
			return events
		}
		testenv.Check(t, err)
		n := 0
		for rec, err := range d.Records(c) {
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			n++
			events = append(events, decodeAll(t, bytes.NewReader(rec.JSON))...)
		}
		if n != c.NumRecords() {
			t.Errorf("%s: %d records, %d expected", path, n, c.NumRecords())
		}
	}
}

// A log that is cut off is read as far as it goes, and then reported. One with unused
// chunks, with slack behind the last, or with more chunks than its header counts is not.
func TestTruncated(t *testing.T) {
	header := make([]byte, 4096)
	copy(header, "ElfFile\x00")
	binary.LittleEndian.PutUint16(header[42:], 2)
	chunk := make([]byte, 64<<10)
	copy(chunk, "ElfChnk\x00")
	unused := make([]byte, 64<<10)
	for _, c := range []struct {
		name      string
		log       [][]byte
		chunks    int
		truncated bool
	}{
		{"complete", [][]byte{header, chunk, chunk}, 2, false},
		{"unused chunk", [][]byte{header, chunk, unused}, 1, false},
		{"slack", [][]byte{header, chunk, chunk, unused[:1000]}, 2, false},
		{"more chunks than counted", [][]byte{header, chunk, chunk, chunk}, 3, false},
		{"header only", [][]byte{header}, 0, true},
		{"between chunks", [][]byte{header, chunk}, 1, true},
		{"inside a chunk", [][]byte{header, chunk, chunk[:60_000]}, 2, true},
		{"inside the head of a chunk", [][]byte{header, chunk, chunk[:100]}, 2, true},
		{"inside an unused chunk", [][]byte{header, chunk, unused[:1000]}, 1, true},
		{"inside a chunk that is not counted", [][]byte{header, chunk, chunk, chunk[:60_000]}, 3, true},
	} {
		r, err := evtx.NewReader(bytes.NewReader(slices.Concat(c.log...)))
		testenv.Check(t, err)
		chunks := 0
		for err == nil {
			if _, err = r.NextChunk(); err == nil {
				chunks++
			}
		}
		if chunks != c.chunks || errors.Is(err, evtx.ErrTruncated) != c.truncated || !c.truncated && err != io.EOF {
			t.Errorf("%s: %d chunks, %v", c.name, chunks, err)
		}
	}
}

// What can be read of a log that is cut inside a chunk are the records before.
func TestTruncatedRecords(t *testing.T) {
	logs, err := filepath.Glob(filepath.Join(testenv.ExternalDataDir(t), "regression/rules/windows/*/*/*/*.evtx"))
	testenv.Check(t, err)
	for _, name := range logs[:min(len(logs), 20)] {
		data, err := os.ReadFile(name)
		testenv.Check(t, err)
		all, whole := countRecords(t, data)
		part, cut := countRecords(t, data[:len(data)-5000])
		if whole != io.EOF || !errors.Is(cut, evtx.ErrTruncated) || part == 0 || part > all {
			t.Errorf("%s: %v, %d records; cut: %v, %d records", name, whole, all, cut, part)
		}
	}
}

// countRecords reads a log to its end, and returns the number of records and the error
// there.
func countRecords(t *testing.T, data []byte) (records int, end error) {
	r, err := evtx.NewReader(bytes.NewReader(data))
	testenv.Check(t, err)
	var d evtx.Decoder
	for {
		c, err := r.NextChunk()
		if err != nil {
			return records, err
		}
		for _, err := range d.Records(c) {
			if err == nil {
				records++
			}
		}
	}
}

// Whatever the bytes, reading ends, and does not panic.
func FuzzReader(f *testing.F) {
	head := make([]byte, 4096)
	copy(head, "ElfFile\x00")
	chunk := make([]byte, 64<<10)
	copy(chunk, "ElfChnk\x00")
	f.Add(append(head, chunk...))
	if dir, ok := testenv.FindExternalData(); ok {
		logs, _ := filepath.Glob(filepath.Join(dir, "regression/rules/windows/*/*/*/*.evtx"))
		for _, log := range logs[:min(len(logs), 5)] {
			data, err := os.ReadFile(log)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	for _, c := range hostileChunks() {
		f.Add(slices.Concat(head, c))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		testenv.CheckAllocated(t, 1<<20+1024*len(data), func() { readToEnd(t, data) })
	})
}

func readToEnd(t *testing.T, data []byte) {
	r, err := evtx.NewReader(bytes.NewReader(data))
	if err != nil {
		return
	}
	var d evtx.Decoder
	for {
		c, err := r.NextChunk()
		if err != nil {
			return
		}
		for rec, err := range d.Records(c) {
			if err == nil && !json.Valid(rec.JSON) {
				t.Fatalf("not JSON: %q", rec.JSON)
			}
		}
	}
}

// hostileChunks are chunks that refer to the same long bytes again and again.
func hostileChunks() [][]byte {
	const start, name = 512, 40_000
	chunk := func(content []byte) []byte {
		c := make([]byte, 64<<10)
		copy(c, "ElfChnk\x00")
		le := binary.LittleEndian
		le.PutUint32(c[48:], 64<<10)
		record := c[start:]
		le.PutUint32(record, 0x2a2a)
		le.PutUint32(record[4:], uint32(24+len(content)+4))
		copy(record[24:], content)
		le.PutUint16(c[name+6:], 12_000) // a name of 12,000 characters
		for i := range 12_000 {
			le.PutUint16(c[name+8+2*i:], 'a')
		}
		return c
	}
	fragment := []byte{0x0f, 1, 1, 0}
	element := func(content []byte) []byte {
		e := binary.LittleEndian.AppendUint32([]byte{0x01, 0, 0, 0, 0}, name)
		return append(append(append(e, 0x02), content...), 0x04)
	}
	children := bytes.Repeat(element(nil), 2500) // elements of the long name
	entities := bytes.Repeat(append([]byte{0x09}, binary.LittleEndian.AppendUint32(nil, name)...), 6000)
	return [][]byte{
		chunk(slices.Concat(fragment, element(children), []byte{0})),
		chunk(slices.Concat(fragment, element(entities), []byte{0})),
	}
}

// What the records of a chunk take is bounded, and reported.
func TestHostileChunk(t *testing.T) {
	head := make([]byte, 4096)
	copy(head, "ElfFile\x00")
	r, err := evtx.NewReader(bytes.NewReader(slices.Concat(head, hostileChunks()[0])))
	testenv.Check(t, err)
	c, err := r.NextChunk()
	testenv.Check(t, err)
	n := 0
	for _, err := range new(evtx.Decoder).Records(c) {
		if n++; err == nil || !strings.Contains(err.Error(), "take more than") {
			t.Error(err)
		}
	}
	if n != 1 {
		t.Errorf("%d records", n)
	}
}
