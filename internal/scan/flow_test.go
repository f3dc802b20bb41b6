package scan_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket/internal/scan"
)

// Matches are reported in the order of the events, however many cores are used.
func TestMatchOrder(t *testing.T) {
	var text strings.Builder
	var want []int
	for i := range 5_000 {
		command := "ls"
		if i%3 == 0 {
			command = "evil"
			want = append(want, i+1)
		}
		text.WriteString(event(i, command) + "\n")
	}
	path := file(t, "events.ndjson", []byte(text.String()))
	for range 3 {
		if records, _, _ := result(t, path); !cmp.Equal(want, records) {
			t.Fatal("matches are in another order")
		}
	}
}

// A scan ends when its context does, and when a match cannot be written.
func TestFilesErrors(t *testing.T) {
	path := endless(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := scan.Files(ctx, engine(t), []string{path}, new(scan.Progress), func(scan.LocatedMatch) error { cancel(); return nil }, func(err error) { t.Error(err) })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	full := errors.New("disk full")
	matches := 0
	err = scan.Files(t.Context(), engine(t), []string{endless(t)}, new(scan.Progress), func(scan.LocatedMatch) error { matches++; return full }, func(err error) { t.Error(err) })
	if err != full || matches != 1 {
		t.Errorf("error is %v, after %d matches", err, matches)
	}
}

// A read that blocks does not delay the end of a scan.
func TestCancelBlockedRead(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close() // the scan still reads from it until here
	path := fmt.Sprintf("/dev/fd/%d", r.Fd())
	if _, err := os.Stat(path); err != nil {
		t.Skipf("SKIPPED, missing: %s", path)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err = scan.Files(ctx, engine(t), []string{path}, new(scan.Progress), func(scan.LocatedMatch) error { return nil }, func(error) {})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v", err)
	}
}

// Memory use is bounded, however much is read.
func TestMemory(t *testing.T) {
	var p scan.Progress
	var most atomic.Uint64
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	err := scan.Files(ctx, engine(t), []string{endless(t)}, &p, func(m scan.LocatedMatch) error {
		if n++; n%2000 == 0 {
			var mem runtime.MemStats
			runtime.ReadMemStats(&mem)
			most.Store(max(most.Load(), mem.HeapAlloc))
		}
		if m.Record > 60_000 {
			cancel()
		}
		return nil
	}, func(err error) { t.Error(err) })
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if read := p.Bytes.Load(); read < 20<<20 || most.Load() > 64<<20 {
		t.Errorf("after %d MiB the heap has been at %d MiB", read>>20, most.Load()>>20)
	}
}

// endless returns a pipe from which events can be read without end.
func endless(t *testing.T) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	path := fmt.Sprintf("/dev/fd/%d", r.Fd())
	if _, err := os.Stat(path); err != nil {
		t.Skipf("SKIPPED, missing: %s", path)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		line := []byte(event(1, "evil "+strings.Repeat("x", 200)) + "\n")
		chunk := bytes.Repeat(line, 100)
		for {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		w.SetWriteDeadline(time.Now())
		r.Close()
		w.Close()
		<-done
	})
	return path
}
