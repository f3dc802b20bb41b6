package picket

import (
	"encoding/binary"
	"fmt"
	"time"
	"unsafe"

	"github.com/picket-edr/picket/internal/zst"
)

// batchEncodingVersion is the first byte of an encoded batch. Version 1, which can still be
// decoded, has neither sender nor index.
const batchEncodingVersion = 2

// maxBatchBytes bounds the lengths that decoding accepts. The limits of the intake are
// far lower.
const maxBatchBytes = 1 << 30

// minEncodedEventBytes is the size of an event without any text, as version 1 encodes it.
const minEncodedEventBytes = 7

// Encode appends the batch to dst in the format of queues:
//
//	version   1 byte, 2
//	zstd frame of
//	  id        string
//	  received  varint, microseconds since 1970
//	  n         uvarint, events
//	  n times   id, agent, host, type, os, sender, index  strings
//	            time                                      varint, microseconds since 1970
//	            raw                                       uvarint, its length
//	  raws      the n events as received, end to end
//
// where a string is its length as uvarint, then its bytes. Fields are not encoded: the
// worker derives them from Raw.
func (b *Batch) Encode(dst []byte) []byte {
	raws := 0
	for i := range b.Events {
		raws += len(b.Events[i].Raw)
	}
	p := make([]byte, 0, 64+128*len(b.Events)+min(raws, compressInPartsAboveBytes))
	p = appendLengthPrefixed(p, b.ID)
	p = binary.AppendVarint(p, b.Received.UnixMicro())
	p = binary.AppendUvarint(p, uint64(len(b.Events)))
	for i := range b.Events {
		e := &b.Events[i]
		p = appendLengthPrefixed(p, e.ID)
		p = appendLengthPrefixed(p, e.AgentID)
		p = appendLengthPrefixed(p, e.Host)
		p = appendLengthPrefixed(p, e.Type)
		p = appendLengthPrefixed(p, e.OS)
		p = appendLengthPrefixed(p, e.Sender)
		p = appendLengthPrefixed(p, e.Index)
		p = binary.AppendVarint(p, e.Time.UnixMicro())
		p = binary.AppendUvarint(p, uint64(len(e.Raw)))
	}
	dst = append(dst, batchEncodingVersion)
	if raws > compressInPartsAboveBytes {
		return zst.CompressParts(dst, len(p)+raws, func(write func([]byte)) {
			write(p)
			for i := range b.Events {
				write(b.Events[i].Raw)
			}
		})
	}
	for i := range b.Events {
		p = append(p, b.Events[i].Raw...)
	}
	return zst.CompressForSpeed(dst, p)
}

// Above compressInPartsAboveBytes bytes, events are compressed in parts, without a copy.
// Up to it, they are copied and compressed in one piece, which is faster.
const compressInPartsAboveBytes = 4 << 20

// DecodedBytes returns how many bytes DecodeBatch will allocate for p according to its
// header, 0 if that is not known.
func DecodedBytes(p []byte) int {
	if len(p) == 0 {
		return 0
	}
	return zst.DecompressedSize(p[1:])
}

func appendLengthPrefixed(p []byte, s string) []byte {
	p = binary.AppendUvarint(p, uint64(len(s)))
	return append(p, s...)
}

// DecodeBatch decodes what Encode wrote. The events and their strings share one buffer,
// so Raw must not be changed. Its errors are ErrInvalid.
func DecodeBatch(p []byte) (Batch, error) {
	if len(p) == 0 || p[0] < 1 || p[0] > batchEncodingVersion {
		return Batch{}, fmt.Errorf("decode batch: unknown version: %w", ErrInvalid)
	}
	plain, err := zst.Decompress(nil, p[1:])
	if err != nil {
		return Batch{}, fmt.Errorf("decode batch: %w: %w", err, ErrInvalid)
	}
	r := batchReader{p: plain, s: unsafe.String(unsafe.SliceData(plain), len(plain))}
	b := Batch{ID: r.readString(), Received: r.readTime()}
	n := r.readUvarint()
	if n > uint64(len(plain)/minEncodedEventBytes) {
		return Batch{}, fmt.Errorf("decode batch: %d events in %d bytes: %w", n, len(plain), ErrInvalid)
	}
	b.Events = make([]Event, n)
	lens := make([]int, n)
	total := 0
	for i := range b.Events {
		e := &b.Events[i]
		*e = Event{ID: r.readString(), AgentID: r.readString(), Host: r.readString(), Type: r.readString(), OS: r.readString(), Received: b.Received}
		if p[0] > 1 {
			e.Sender, e.Index = r.readString(), r.readString()
		}
		e.Time = r.readTime()
		size := r.readUvarint()
		if size > maxBatchBytes {
			r.bad = true
			break
		}
		lens[i] = int(size)
		total += lens[i]
	}
	if r.bad || total != len(plain)-r.at {
		return Batch{}, fmt.Errorf("decode batch: cut short or damaged: %w", ErrInvalid)
	}
	for i, size := range lens {
		b.Events[i].Raw = plain[r.at : r.at+size : r.at+size]
		r.at += size
	}
	return b, nil
}

// A batchReader decodes values from p. Past the end it sets bad and returns zeros. Its
// strings are parts of s, which aliases p.
type batchReader struct {
	p   []byte
	s   string
	at  int
	bad bool
}

func (r *batchReader) readUvarint() uint64 {
	v, n := binary.Uvarint(r.p[r.at:])
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.at += n
	return v
}

func (r *batchReader) readTime() time.Time {
	v, n := binary.Varint(r.p[r.at:])
	if n <= 0 {
		r.bad = true
		return time.Time{}
	}
	r.at += n
	return time.UnixMicro(v).UTC()
}

func (r *batchReader) readString() string {
	n := r.readUvarint()
	if n > uint64(len(r.p)-r.at) {
		r.bad = true
		return ""
	}
	s := r.s[r.at : r.at+int(n)]
	r.at += int(n)
	return s
}
