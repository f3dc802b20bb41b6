package ingest

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/picket-edr/picket/internal/httpapi"
)

// chunkBytes is how many bytes of a body are read at a time.
const chunkBytes = 64 << 10

// maxZstdWindowBytes bounds the window of a zstd frame. 8 MiB suffices for the default
// levels of every encoder (RFC 8878, 3.1.1.1.2).
const maxZstdWindowBytes = 8 << 20

// A bodyReader reads bodies into memory, decompressed and within limits.
type bodyReader struct {
	maxBodyBytes, maxDecodedBytes int64
	grace                         time.Duration
	tiers                         []*slotTier
	buffers                       sync.Pool // of *[]byte, one chunk or a little more
	zstds                         sync.Pool // of *zstd.Decoder
}

func newBodyReader(o *Options) *bodyReader {
	return &bodyReader{maxBodyBytes: o.MaxBodyBytes, maxDecodedBytes: o.MaxDecodedBytes, grace: o.BodyGrace, tiers: []*slotTier{
		newSlotTier(0, 1024, 128), newSlotTier(chunkBytes, 64, 16), newSlotTier(1<<20, 6, 3), newSlotTier(8<<20, 1, 1),
	}}
}

// read reads the body of a request of sender. It calls feed as the body grows, and stops if
// feed returns an error. The body goes on as feed returns it, which may remove something
// from its end. The caller calls release, at least once, when it no longer
// needs the body or anything that aliases it.
func (b *bodyReader) read(w http.ResponseWriter, r *http.Request, sender string, feed func(body []byte) ([]byte, error)) (body []byte, release func(), err error) {
	if err := b.tiers[0].acquire(r.Context(), sender); err != nil {
		return nil, nil, err
	}
	climbed := 1
	buf, ok := b.buffers.Get().(*[]byte)
	if !ok {
		buf = new([]byte)
		*buf = make([]byte, 0, chunkBytes)
	}
	free := func() {
		for ; climbed > 0; climbed-- {
			b.tiers[climbed-1].release(sender)
		}
		if buf != nil && cap(*buf) <= 4*chunkBytes {
			b.buffers.Put(buf)
		}
		buf = nil
	}
	defer func() {
		if err != nil {
			free()
			if httpapi.StatusOf(err) != http.StatusRequestTimeout { // otherwise nothing comes
				drain(w, r)
			}
		}
	}()
	if r.ContentLength > b.maxBodyBytes {
		return nil, nil, b.readError(errBodyTooLong)
	}
	conn, begin := http.NewResponseController(w), time.Now()
	conn.SetReadDeadline(begin.Add(b.grace)) // for the header of compressed data
	sent := &limitedReader{r: r.Body, left: b.maxBodyBytes}
	src, done, err := b.decompress(r, sent)
	if err != nil {
		return nil, nil, err
	}
	defer done()

	body = (*buf)[:0]
	// The body occupies memory that others may be waiting for, so each chunk of it
	// must arrive within the grace. What else takes time here does not count.
	waited, counted := time.Duration(0), sent.left
	decoded := int64(0)
	for {
		if decoded > b.maxDecodedBytes {
			return nil, nil, httpapi.Errorf(http.StatusRequestEntityTooLarge, "body is larger than %d bytes decompressed", b.maxDecodedBytes)
		}
		if len(body) == cap(body) {
			for climbed < len(b.tiers) && int64(len(body)) >= b.tiers[climbed].overBytes {
				if err := b.tiers[climbed].acquire(r.Context(), sender); err != nil {
					return nil, nil, err
				}
				climbed++
			}
			body = append(make([]byte, 0, min(2*int64(cap(body)), b.maxDecodedBytes+1)), body...)
			*buf = body
		}
		now := time.Now()
		if !sent.ended { // otherwise net/http reads on to notice a disconnect, and would take a timeout for one
			conn.SetReadDeadline(minTime(now.Add(b.grace-waited), begin.Add(httpapi.BodyTimeout)))
		}
		n, err := src.Read(body[len(body):min(cap(body), len(body)+chunkBytes)])
		if waited += time.Since(now); counted-sent.left >= chunkBytes {
			waited, counted = 0, sent.left
		}
		body = body[:len(body)+n]
		decoded += int64(n)
		if n > 0 {
			kept, err := feed(body)
			if err != nil {
				return nil, nil, err
			}
			body = kept
		}
		if err == io.EOF {
			return body, free, nil
		}
		if err != nil {
			return nil, nil, b.readError(err)
		}
	}
}

// errBodyTooLong: the body exceeds the limit.
var errBodyTooLong = errors.New("body too long")

// A limitedReader returns errBodyTooLong after left bytes.
type limitedReader struct {
	r     io.Reader
	left  int64
	ended bool // r has returned io.EOF
}

func (b *limitedReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p[:min(int64(len(p)), b.left+1)])
	b.ended = err == io.EOF
	if b.left -= int64(n); b.left < 0 {
		return n, errBodyTooLong
	}
	return n, err
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

const (
	maxDrainedBytes = 64 << 20
	drainTimeout    = 10 * time.Second
)

// drain reads some more of a rejected body, because most senders read the answer
// only after they have sent everything, and closing the connection would lose it.
// A sender that waits for 100 Continue has sent nothing to drain.
func drain(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Expect") != "" {
		return
	}
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(drainTimeout))
	io.CopyN(io.Discard, r.Body, maxDrainedBytes)
}

func (b *bodyReader) readError(err error) error {
	if errors.Is(err, errBodyTooLong) {
		return httpapi.Errorf(http.StatusRequestEntityTooLarge, "body is larger than %d bytes as sent", b.maxBodyBytes)
	}
	if errors.Is(err, zstd.ErrWindowSizeExceeded) || errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		return httpapi.Errorf(http.StatusRequestEntityTooLarge, "zstd frame needs a window larger than %d bytes", maxZstdWindowBytes)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return httpapi.Errorf(http.StatusRequestTimeout, "the body took too long to arrive")
	}
	return httpapi.Errorf(http.StatusBadRequest, "read body: %v", err)
}

// decompress returns a reader that decompresses a body by its Content-Encoding.
func (b *bodyReader) decompress(r *http.Request, body io.Reader) (io.Reader, func(), error) {
	switch enc := strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Encoding"))); enc {
	case "", "identity":
		return body, func() {}, nil
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(bufio.NewReaderSize(body, 4096))
		if err != nil {
			return nil, nil, b.readError(fmt.Errorf("it is not gzip, as Content-Encoding says: %w", err))
		}
		return z, func() { z.Close() }, nil
	case "zstd":
		z, ok := b.zstds.Get().(*zstd.Decoder)
		if !ok {
			var err error
			z, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindowBytes))
			if err != nil {
				return nil, nil, fmt.Errorf("make a zstd decoder: %w", err)
			}
		}
		if err := z.Reset(body); err != nil {
			return nil, nil, b.readError(fmt.Errorf("it is not zstd, as Content-Encoding says: %w", err))
		}
		return z, func() {
			if z.Reset(nil) == nil {
				b.zstds.Put(z)
			}
		}, nil
	default:
		return nil, nil, httpapi.Errorf(http.StatusUnsupportedMediaType, "Content-Encoding %q is not supported; use gzip or zstd", enc)
	}
}

// decompressPrefix returns what prefix, the first bytes of the body of r, decompresses
// to, as far as that goes and at most httpapi.MaxUnauthenticatedBytes bytes.
func (b *bodyReader) decompressPrefix(r *http.Request, prefix []byte) ([]byte, error) {
	src, done, err := b.decompress(r, bytes.NewReader(prefix))
	if err != nil {
		return nil, err
	}
	defer done()
	plain := make([]byte, httpapi.MaxUnauthenticatedBytes)
	n, _ := io.ReadFull(src, plain) // an error is reported when all of it is read
	return plain[:n], nil
}
