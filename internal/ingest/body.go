package ingest

import (
	"bufio"
	"compress/gzip"
	"context"
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

// chunk is how many bytes of a body are read at a time.
const chunk = 64 << 10

// zstdWindow bounds the window of a zstd frame. 8 MiB suffices for the default
// levels of every encoder (RFC 8878, 3.1.1.1.2).
const zstdWindow = 8 << 20

// A bodyReader reads bodies into memory, decompressed and within limits.
type bodyReader struct {
	maxBodyBytes, maxDecodedBytes int64
	tiers                         []bufferTier
	buffers                       sync.Pool // of *[]byte, one chunk or a little more
	zstds                         sync.Pool // of *zstd.Decoder
}

// A bufferTier limits how many bodies may be larger than a size at the same time.
// A growing body acquires the tiers in order, which rules out deadlocks.
type bufferTier struct {
	size  int64
	slots chan struct{}
}

func newBodyReader(maxBody, maxDecoded int64) *bodyReader {
	return &bodyReader{maxBodyBytes: maxBody, maxDecodedBytes: maxDecoded, tiers: []bufferTier{
		{chunk, make(chan struct{}, 64)}, {1 << 20, make(chan struct{}, 6)}, {8 << 20, make(chan struct{}, 1)},
	}}
}

// read reads the body of r. It calls feed as the body grows, and stops if feed
// returns an error. The caller calls release, at least once, when it no longer
// needs the body or anything that aliases it.
func (b *bodyReader) read(w http.ResponseWriter, r *http.Request, feed func(body []byte) error) (body []byte, release func(), err error) {
	climbed := 0
	buf, ok := b.buffers.Get().(*[]byte)
	if !ok {
		buf = new([]byte)
		*buf = make([]byte, 0, chunk)
	}
	free := func() {
		for ; climbed > 0; climbed-- {
			<-b.tiers[climbed-1].slots
		}
		if buf != nil && cap(*buf) <= 4*chunk {
			b.buffers.Put(buf)
		}
		buf = nil
	}
	defer func() {
		if err != nil {
			free()
			drain(w, r)
		}
	}()
	if r.ContentLength > b.maxBodyBytes {
		return nil, nil, b.readError(errTooLong)
	}
	src, done, err := b.decompress(r, &limitedReader{r.Body, b.maxBodyBytes})
	if err != nil {
		return nil, nil, err
	}
	defer done()

	body = (*buf)[:0]
	for {
		if int64(len(body)) > b.maxDecodedBytes {
			return nil, nil, httpapi.Errorf(http.StatusRequestEntityTooLarge, "body is larger than %d bytes decompressed", b.maxDecodedBytes)
		}
		if len(body) == cap(body) {
			for climbed < len(b.tiers) && int64(len(body)) >= b.tiers[climbed].size {
				if err := acquireSlot(r.Context(), b.tiers[climbed].slots); err != nil {
					return nil, nil, err
				}
				climbed++
			}
			body = append(make([]byte, 0, min(2*int64(cap(body)), b.maxDecodedBytes+1)), body...)
			*buf = body
		}
		n, err := src.Read(body[len(body):min(cap(body), len(body)+chunk)])
		body = body[:len(body)+n]
		if n > 0 {
			if err := feed(body); err != nil {
				return nil, nil, err
			}
		}
		if err == io.EOF {
			return body, free, nil
		}
		if err != nil {
			return nil, nil, b.readError(err)
		}
	}
}

// errTooLong: the body exceeds the limit.
var errTooLong = errors.New("body too long")

// A limitedReader returns errTooLong after left bytes.
type limitedReader struct {
	r    io.Reader
	left int64
}

func (b *limitedReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p[:min(int64(len(p)), b.left+1)])
	if b.left -= int64(n); b.left < 0 {
		return n, errTooLong
	}
	return n, err
}

const (
	drained   = 64 << 20
	drainTime = 10 * time.Second
)

// drain reads some more of a rejected body, because most senders read the answer
// only after they have sent everything, and closing the connection would lose it.
// A sender that waits for 100 Continue has sent nothing to drain.
func drain(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Expect") != "" {
		return
	}
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(drainTime))
	io.CopyN(io.Discard, r.Body, drained)
}

func acquireSlot(ctx context.Context, slots chan struct{}) error {
	select {
	case slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return &httpapi.Error{Status: http.StatusServiceUnavailable, RetryAfter: 1, Err: fmt.Errorf("wait for memory: %w", ctx.Err())}
	}
}

func (b *bodyReader) readError(err error) error {
	if errors.Is(err, errTooLong) {
		return httpapi.Errorf(http.StatusRequestEntityTooLarge, "body is larger than %d bytes as sent", b.maxBodyBytes)
	}
	if errors.Is(err, zstd.ErrWindowSizeExceeded) || errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		return httpapi.Errorf(http.StatusRequestEntityTooLarge, "zstd frame needs a window larger than %d bytes", zstdWindow)
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
			return nil, nil, b.readError(fmt.Errorf("gzip: %w", err))
		}
		return z, func() { z.Close() }, nil
	case "zstd":
		z, ok := b.zstds.Get().(*zstd.Decoder)
		if !ok {
			var err error
			z, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
			if err != nil {
				return nil, nil, fmt.Errorf("make a zstd decoder: %w", err)
			}
		}
		if err := z.Reset(body); err != nil {
			return nil, nil, b.readError(fmt.Errorf("zstd: %w", err))
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
