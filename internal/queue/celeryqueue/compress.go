package celeryqueue

import (
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/picket-edr/picket"
)

// unzstd decompresses a body with kombu's compression "application/zstd".
func unzstd(src []byte, most int) ([]byte, error) {
	r, err := zstd.NewReader(bytes.NewReader(src), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	defer r.Close()
	out, err := io.ReadAll(io.LimitReader(r, int64(most)+1))
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	if len(out) > most {
		return nil, fmt.Errorf("zstd: more than %d bytes: %w", most, picket.ErrInvalid)
	}
	return out, nil
}
