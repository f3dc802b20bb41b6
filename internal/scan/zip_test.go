package scan

import (
	"bytes"
	"compress/gzip"
	"errors"
	"strings"
	"testing"
)

// What the files of an archive decompress to is bounded, also in files that are
// compressed again.
func TestZipBudget(t *testing.T) {
	lines := strings.Repeat("{\"a\":1}\n", 10_000)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write([]byte(lines))
	z.Close()
	for name, file := range map[string]string{"a.ndjson": lines, "a.ndjson.gz": packed.String()} {
		for budget, complete := range map[int64]bool{1 << 20: true, 50_000: false} {
			n := 0
			err := newEventFile(name).readFrom(strings.NewReader(file), &budget, &eventCallbacks{onEvent: func(string, []byte) error { n++; return nil }})
			if complete != (err == nil && n == 10_000) || !complete && !errors.Is(err, errZipTooLarge) {
				t.Errorf("%s: %d events, %v", name, n, err)
			}
		}
	}
}
