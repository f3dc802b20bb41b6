package block

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/picket-edr/picket"
)

// ErrCorrupt means that stored bytes are not what a Encoder writes.
var ErrCorrupt = errors.New("corrupt block")

// A Header describes a block without reading it. Times are in microseconds, as
// Micros returns them.
type Header struct {
	EventCount               int
	Span                     int64 // how many sequence numbers it covers, from its first event to its last
	RawBytes                 int64 // size of its events as received
	MinTime, MaxTime         int64
	MinReceived, MaxReceived int64
	Indexed                  bool
}

// The numbers of a block's parts. They are part of the format.
const (
	partMetadata     = 0
	partIDs          = 1
	partIDFilter     = 2
	partFieldLayouts = 3
	partTextFilters  = 4
	partFirstFrame   = 16  // the first frame; the others follow
	partFirstColumn  = 144 // the first column; the others follow

	maxFrames  = partFirstColumn - partFirstFrame
	maxColumns = 300 // fields that have a column; others are only in the events

	// PartNumberLimit is greater than every part number.
	PartNumberLimit = partFirstColumn + maxColumns
)

// A Part is one blob of a block.
type Part struct {
	Number int
	Data   []byte
}

// Encoded is a block that is ready to be written; only its sequence numbers are
// still open.
type Encoded struct {
	Header
	Directory []byte
	Parts     []Part
}

// Size returns how many bytes the block takes.
func (b *Encoded) Size() int64 {
	n := int64(len(b.Directory))
	for _, p := range b.Parts {
		n += int64(len(p.Data))
	}
	return n
}

// newHeader describes events; offsets is as in metadata.
func newHeader(evs []picket.Event, offsets []int64) Header {
	h := Header{EventCount: len(evs), Span: int64(len(evs)), MinTime: math.MaxInt64, MinReceived: math.MaxInt64, MaxTime: math.MinInt64, MaxReceived: math.MinInt64}
	if offsets != nil {
		h.Span = offsets[len(offsets)-1] + 1
	}
	for i := range evs {
		t, r := Micros(evs[i].Time), Micros(evs[i].Received)
		h.MinTime, h.MaxTime = min(h.MinTime, t), max(h.MaxTime, t)
		h.MinReceived, h.MaxReceived = min(h.MinReceived, r), max(h.MaxReceived, r)
		h.RawBytes += int64(len(evs[i].Raw))
	}
	return h
}

// A PartReader reads the parts of one block.
type PartReader interface {
	// ReadPart returns a part in buf, grown if need be; nil if the block has no
	// such part.
	ReadPart(buf []byte, number int) ([]byte, error)
}

// A Block is a stored block. It reads its parts when they are needed. It is for
// one goroutine.
type Block struct {
	Header
	FirstSeq int64 // sequence number of its first event

	parts     PartReader
	packedDir []byte
	dir       *directory     // once read
	meta      *eventMetadata // once read
}

// Open returns the block that has a header and a directory and starts at a
// sequence number.
func Open(h Header, firstSeq int64, directory []byte, parts PartReader) *Block {
	return &Block{Header: h, FirstSeq: firstSeq, packedDir: directory, parts: parts}
}

func (b *Block) wrapError(err error) error { return fmt.Errorf("block %d: %w", b.FirstSeq, err) }

func (b *Block) directory() (*directory, error) {
	if b.dir == nil {
		d, err := decodeDirectory(b.packedDir, b.EventCount)
		if err != nil {
			return nil, err
		}
		b.dir = d
	}
	return b.dir, nil
}

func (b *Block) metadata() (*eventMetadata, error) {
	if b.meta == nil {
		d, err := b.directory()
		if err != nil {
			return nil, err
		}
		data, err := b.parts.ReadPart(nil, partMetadata)
		if err != nil {
			return nil, err
		}
		m, err := decodeMetadata(data, b.EventCount, d.flags)
		if err != nil {
			return nil, err
		}
		b.meta = m
	}
	return b.meta, nil
}

// IDs returns the ids of the block's events.
func (b *Block) IDs() (IDList, error) {
	data, err := b.parts.ReadPart(nil, partIDs)
	if err != nil {
		return IDList{}, b.wrapError(err)
	}
	ids, err := DecodeIDs(data)
	if err != nil || ids.n != b.EventCount {
		return IDList{}, b.wrapError(errors.Join(err, ErrCorrupt))
	}
	return ids, nil
}

// FindID returns the rows that have an id, the last first.
func (b *Block) FindID(id string) (rows []int, err error) {
	if b.Indexed {
		filter, err := b.parts.ReadPart(nil, partIDFilter)
		if err != nil {
			return nil, b.wrapError(err)
		}
		if !idFilterMayHave(filter, idHash(id)) {
			return nil, nil
		}
	}
	ids, err := b.IDs()
	if err != nil {
		return nil, err
	}
	var have []byte
	for row := ids.n - 1; row >= 0; row-- {
		if have = ids.AppendTo(have[:0], row); string(have) == id {
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// FindSeq returns the row of the event with a sequence number.
func (b *Block) FindSeq(seq int64) (row int, found bool, err error) {
	m, err := b.metadata()
	if err != nil {
		return 0, false, b.wrapError(err)
	}
	if m.offsets == nil {
		return int(seq - b.FirstSeq), seq >= b.FirstSeq && seq-b.FirstSeq < int64(b.EventCount), nil
	}
	row, found = slices.BinarySearch(m.offsets, seq-b.FirstSeq)
	return row, found, nil
}

// An Identity is what identifies an event, in the terms of picket.Event.
type Identity struct {
	ID                     []byte // valid until the next event
	Sender, AgentID, Index string
}

// EachIdentity calls f with the sequence number and the identity of each event.
func (b *Block) EachIdentity(f func(seq int64, id Identity)) error {
	ids, err := b.IDs()
	if err != nil {
		return err
	}
	m, err := b.metadata()
	if err != nil {
		return b.wrapError(err)
	}
	var of Identity
	for row := range ids.n {
		of.ID = ids.AppendTo(of.ID[:0], row)
		if m.sender != nil {
			of.Sender, of.AgentID, of.Index = m.sender.value(row), m.agent.value(row), m.index.value(row)
		}
		f(m.seq(b.FirstSeq, row), of)
	}
	return nil
}

// EventWithoutContent returns the event of a row that FindID has found, without Raw and Fields.
func (b *Block) EventWithoutContent(row int, id string) (picket.Event, error) {
	m, err := b.metadata()
	if err != nil {
		return picket.Event{}, b.wrapError(err)
	}
	return m.event(row, id, nil), nil
}

func (b *Block) readFieldLayouts() (*fieldLayouts, error) {
	d, err := b.directory()
	if err != nil {
		return nil, err
	}
	data, err := b.parts.ReadPart(nil, partFieldLayouts)
	if err != nil {
		return nil, err
	}
	if data == nil && d.flags&flagFieldLayouts != 0 {
		return nil, fmt.Errorf("no field layouts: %w", ErrCorrupt)
	}
	return decodeFieldLayouts(data, b.EventCount)
}

// Micros is a time as stores keep it: microseconds since 1970 in UTC. The zero
// time is the least number, so that it sorts first and is read back as zero.
func Micros(t time.Time) int64 {
	if t.IsZero() {
		return math.MinInt64
	}
	return t.UnixMicro()
}

// FromMicros is the inverse of Micros.
func FromMicros(us int64) time.Time {
	if us == math.MinInt64 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
