package block

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/picket-edr/picket"
)

// ErrCorrupt means that stored bytes are not what a Builder writes.
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
	PartIDs = 1 // for DecodeIDs

	partMetadata     = 0
	partIDFilter     = 2
	partFieldLayouts = 3
	partTextFilters  = 4
	partFirstFrame   = 16  // the first frame; the others follow
	partFirstColumn  = 144 // the first column; the others follow

	maxFrames  = partFirstColumn - partFirstFrame
	maxColumns = 300 // fields that have a column; others are only in the events

	// PartCount is greater than every part number.
	PartCount = partFirstColumn + maxColumns
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

// headerOf describes events; offsets is as in metadata.
func headerOf(evs []picket.Event, offsets []int64) Header {
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
	dir       *directory // once read
	meta      *metadata  // once read
}

// Open returns the block that has a header and a directory and starts at a
// sequence number.
func Open(h Header, firstSeq int64, directory []byte, parts PartReader) *Block {
	return &Block{Header: h, FirstSeq: firstSeq, packedDir: directory, parts: parts}
}

func (b *Block) fail(err error) error { return fmt.Errorf("block %d: %w", b.FirstSeq, err) }

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

func (b *Block) metadata() (*metadata, error) {
	if b.meta == nil {
		data, err := b.parts.ReadPart(nil, partMetadata)
		if err != nil {
			return nil, err
		}
		m, err := decodeMetadata(data, b.EventCount)
		if err != nil {
			return nil, err
		}
		b.meta = m
	}
	return b.meta, nil
}

// IDs returns the ids of the block's events.
func (b *Block) IDs() (IDList, error) {
	data, err := b.parts.ReadPart(nil, PartIDs)
	if err != nil {
		return IDList{}, b.fail(err)
	}
	ids, err := DecodeIDs(data)
	if err != nil || ids.n != b.EventCount {
		return IDList{}, b.fail(errors.Join(err, ErrCorrupt))
	}
	return ids, nil
}

// FindID returns the last row that has an id.
func (b *Block) FindID(id string) (row int, found bool, err error) {
	if b.Indexed {
		filter, err := b.parts.ReadPart(nil, partIDFilter)
		if err != nil {
			return 0, false, b.fail(err)
		}
		if !idFilterMayHave(filter, idHash(id)) {
			return 0, false, nil
		}
	}
	ids, err := b.IDs()
	if err != nil {
		return 0, false, err
	}
	var have []byte
	for row := ids.n - 1; row >= 0; row-- {
		if have = ids.AppendTo(have[:0], row); string(have) == id {
			return row, true, nil
		}
	}
	return 0, false, nil
}

func (b *Block) fieldLayouts() (*fieldLayouts, error) {
	data, err := b.parts.ReadPart(nil, partFieldLayouts)
	if err != nil {
		return nil, err
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
