package evtx_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/picket-edr/picket/internal/evtx"
	"github.com/picket-edr/picket/internal/testenv"
)

// BenchmarkDecode decodes logs whose chunks are full, as those of busy hosts are.
func BenchmarkDecode(b *testing.B) {
	dir := testenv.ExternalDataDir(b)
	logs, err := filepath.Glob(filepath.Join(dir, "regression/rules/windows/*/*/*/*.evtx"))
	testenv.Check(b, err)
	var all [][]byte
	size := 0
	for _, log := range logs {
		data, err := os.ReadFile(log)
		testenv.Check(b, err)
		if data = fillChunk(data); data != nil {
			all, size = append(all, data), size+len(data)
		}
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	records := 0
	for b.Loop() {
		records = 0
		for _, data := range all {
			r, err := evtx.NewReader(bytes.NewReader(data))
			testenv.Check(b, err)
			var d evtx.Decoder
			for {
				c, err := r.NextChunk()
				if err == io.EOF {
					break
				}
				for _, err := range d.Records(c) {
					testenv.Check(b, err)
					records++
				}
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*records), "ns/record")
}

// fillChunk returns a log with the header and the first chunk of another, which holds its
// first record as often as it has room. It returns nil if that record is no instance of
// a template.
func fillChunk(log []byte) []byte {
	const start, recordHeader, chunk = 4096 + 512, 24, 64 << 10
	le := binary.LittleEndian
	size := int(le.Uint32(log[start+4:]))
	content := withoutTemplates(log[4096:], 512+recordHeader, 512+size-4)
	if content == nil {
		return nil
	}
	filled := bytes.Clone(log[:4096+chunk])
	at := start + size
	for id := uint64(2); at+recordHeader+len(content)+4 <= len(filled); id++ {
		record := filled[at : at+recordHeader+len(content)+4]
		copy(record, log[start:start+recordHeader])
		le.PutUint32(record[4:], uint32(len(record)))
		le.PutUint64(record[8:], id)
		copy(record[recordHeader:], content)
		at += len(record)
	}
	le.PutUint32(filled[4096+48:], uint32(at-4096))
	return filled
}

// withoutTemplates returns an instance of a template between two offsets of a chunk, with
// references in place of the templates that are defined in it.
func withoutTemplates(chunk []byte, at, end int) []byte {
	le := binary.LittleEndian
	const fragmentHeader, instance = 4, 10
	if chunk[at] != 0x0f || chunk[at+fragmentHeader] != 0x0c {
		return nil
	}
	out := bytes.Clone(chunk[at : at+fragmentHeader+instance])
	offset := int(le.Uint32(out[fragmentHeader+6:]))
	if at += fragmentHeader + instance; offset == at {
		at += 24 + int(le.Uint32(chunk[at+20:]))
	}
	n := int(le.Uint32(chunk[at:]))
	head := at + 4
	out = append(out, chunk[at:head+4*n]...)
	sizes := out[len(out)-4*n:]
	at = head + 4*n
	var values []byte
	for i := range n {
		size := int(le.Uint16(sizes[4*i:]))
		v := chunk[at : at+size]
		if sizes[4*i+2] == 0x21 && size > 0 {
			if v = withoutTemplates(chunk, at, at+size); v == nil {
				return nil
			}
			le.PutUint16(sizes[4*i:], uint16(len(v)))
		}
		values, at = append(values, v...), at+size
	}
	return append(append(out, values...), chunk[at:end]...)
}
