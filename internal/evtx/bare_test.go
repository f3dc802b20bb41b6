package evtx_test

import (
	"bytes"
	"encoding/binary"
	"testing"
	"unicode/utf16"

	"github.com/picket-edr/picket/internal/evtx"
	"github.com/picket-edr/picket/internal/testenv"
)

// A bareRecord builds binary XML without a template. Elements outside templates have no
// dependency id.
type bareRecord struct {
	b  []byte
	at int // where b begins in the chunk
}

func (r *bareRecord) u16(v int) { r.b = binary.LittleEndian.AppendUint16(r.b, uint16(v)) }
func (r *bareRecord) u32(v int) { r.b = binary.LittleEndian.AppendUint32(r.b, uint32(v)) }

func (r *bareRecord) utf16(s string) {
	for _, c := range utf16.Encode([]rune(s)) {
		r.u16(int(c))
	}
}

// name appends a name in place.
func (r *bareRecord) name(s string) {
	r.u32(r.at + len(r.b) + 4)
	r.u32(0)
	r.u16(0)
	r.u16(len(s))
	r.utf16(s)
	r.u16(0)
}

func (r *bareRecord) text(s string) {
	r.b = append(r.b, 0x05, 0x01)
	r.u16(len(s))
	r.utf16(s)
}

// element appends an element with an attribute Name, if attribute is not "", and what
// content appends; without content it is empty.
func (r *bareRecord) element(name, attribute string, content func()) {
	token := byte(0x01)
	if attribute != "" {
		token |= 0x40
	}
	r.b = append(r.b, token)
	r.u32(0)
	r.name(name)
	if attribute != "" {
		r.u32(0)
		r.b = append(r.b, 0x06)
		r.name("Name")
		r.text(attribute)
	}
	if content == nil {
		r.b = append(r.b, 0x03)
		return
	}
	r.b = append(r.b, 0x02)
	content()
	r.b = append(r.b, 0x04)
}

// A record that is an element itself is read as one that a template makes. Elements that
// are repeated are a list, and empty ones are empty strings.
func TestBareRecord(t *testing.T) {
	const start = 512
	r := &bareRecord{at: start + 24, b: []byte{0x0f, 1, 1, 0}}
	text := func(s string) func() { return func() { r.text(s) } }
	r.element("Event", "", func() {
		r.element("System", "", func() {
			r.element("EventID", "", text("4688"))
			r.element("Correlation", "", nil)
			r.element("Computer", "", text("dc01"))
		})
		r.element("EventData", "", func() {
			r.element("Data", "Image", text(`C:\a "b".exe`))
			r.element("Data", "", text("one"))
			r.element("Data", "Empty", func() {})
			r.element("Data", "", text("two"))
			r.element("Data", "Image", nil)
		})
	})
	r.b = append(r.b, 0)
	chunk := make([]byte, 64<<10)
	copy(chunk, "ElfChnk\x00")
	le := binary.LittleEndian
	size := 24 + len(r.b) + 4
	le.PutUint32(chunk[48:], uint32(start+size))
	le.PutUint32(chunk[start:], 0x2a2a)
	le.PutUint32(chunk[start+4:], uint32(size))
	le.PutUint64(chunk[start+8:], 7)
	copy(chunk[start+24:], r.b)
	file := make([]byte, 4096, 4096+len(chunk))
	copy(file, "ElfFile\x00")
	reader, err := evtx.NewReader(bytes.NewReader(append(file, chunk...)))
	testenv.Check(t, err)
	c, err := reader.NextChunk()
	testenv.Check(t, err)
	want := `{"Event":{"System":{"EventID":"4688","Correlation":"","Computer":"dc01"},"EventData":{"Image":["C:\\a \"b\".exe",""],"Data":["one","two"],"Empty":""}}}`
	n := 0
	for rec, err := range new(evtx.Decoder).Records(c) {
		testenv.Check(t, err)
		if n++; rec.ID != 7 || string(rec.JSON) != want {
			t.Errorf("record %d is\n%s, want\n%s", rec.ID, rec.JSON, want)
		}
	}
	if n != 1 {
		t.Errorf("%d records", n)
	}
}
