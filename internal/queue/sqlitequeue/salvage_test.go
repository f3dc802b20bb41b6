package sqlitequeue_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/testenv"
)

// checkedPayload returns a payload of about n bytes that ends in a checksum of them and of
// the number of events.
func checkedPayload(r *rand.Rand, n, events int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b)+uint32(events))
}

func isChecked(payload []byte, events int) bool {
	n := len(payload) - 4
	return n > 0 && crc32.ChecksumIEEE(payload[:n])+uint32(events) == binary.LittleEndian.Uint32(payload[n:])
}

// A killedQueue is the files of a queue whose process was killed, by extension.
type killedQueue struct {
	files    map[string][]byte
	messages map[string][]byte // the payloads by batch
	removed  map[string][]byte // of messages that were removed; the damage can restore them
	events   int
	// removedEvents is how many events were in the removed messages.
	removedEvents int
}

// newKilledQueue fills a queue with messages from small to large, removes some, buries
// one, and copies its files while it is open. With a checkpoint, most is
// in the file; without, all of it is in the write-ahead log.
func newKilledQueue(t *testing.T, checkpoint bool) *killedQueue {
	t.Helper()
	path := filepath.Join(t.TempDir(), "queue.db")
	open := func() *sqlitequeue.Queue {
		q, err := sqlitequeue.Open(path, sqlitequeue.Options{IgnoreLost: true, Logger: slog.New(slog.DiscardHandler)})
		testenv.Check(t, err)
		return q
	}
	q, ctx := open(), context.Background()
	r := rand.New(rand.NewPCG(1, 2))
	k := &killedQueue{files: make(map[string][]byte), messages: make(map[string][]byte), removed: make(map[string][]byte)}
	for i := range 40 {
		m := queue.Message{ID: fmt.Sprintf("b%d", i), Events: i + 1, Payload: checkedPayload(r, []int{100, 3000, 20_000, 60_000}[i%4], i+1)}
		testenv.Check(t, q.Enqueue(ctx, m))
		k.messages[m.ID] = m.Payload
		k.events += m.Events
		if checkpoint && i == 30 {
			testenv.Check(t, q.Close()) // copies the log into the file
			q = open()
		}
	}
	ds, err := q.Receive(ctx, 6)
	testenv.Check(t, err)
	testenv.Check(t, q.Ack(ctx, ds[:5]...))
	testenv.Check(t, q.Bury(ctx, ds[5], queue.DeadLetter{Reason: queue.Failed, Cause: "refused", Events: ds[5].Events, Payload: ds[5].Payload}))
	for _, d := range ds[:6] {
		k.removed[d.ID] = k.messages[d.ID]
		delete(k.messages, d.ID)
		k.events -= d.Events
		k.removedEvents += d.Events
	}
	for _, ext := range []string{"", "-wal", "-last"} {
		b, err := os.ReadFile(path + ext)
		testenv.Check(t, err)
		k.files[ext] = b
	}
	testenv.Check(t, q.Close())
	return k
}

// write writes the files into a new directory, after damage has changed them.
func (k *killedQueue) write(t *testing.T, damage func(files map[string][]byte)) (path string) {
	t.Helper()
	files := make(map[string][]byte)
	for ext, b := range k.files {
		files[ext] = bytes.Clone(b)
	}
	damage(files)
	path = filepath.Join(t.TempDir(), "queue.db")
	for ext, b := range files {
		testenv.Check(t, os.WriteFile(path+ext, b, 0o600))
	}
	return path
}

// contents checks, salvages if that is necessary, and returns what the queue delivers.
func (k *killedQueue) contents(t *testing.T, path string) (delivered []queue.Delivery, report *sqlitequeue.SalvageReport) {
	t.Helper()
	err := sqlitequeue.Check(t.Context(), path)
	var q *sqlitequeue.Queue
	o := sqlitequeue.Options{IgnoreLost: true, Logger: slog.New(slog.DiscardHandler)}
	if err == nil {
		q, err = sqlitequeue.Open(path, o)
	}
	if err != nil {
		if !errors.Is(err, queue.ErrDamaged) && !errors.Is(err, sqlitequeue.ErrNewerFile) {
			t.Fatalf("neither intact nor damaged: %v", err)
		}
		r, err := sqlitequeue.Salvage(path, isChecked)
		testenv.Check(t, err)
		report = &r
		testenv.Check(t, sqlitequeue.Check(t.Context(), path))
		q, err = sqlitequeue.Open(path, o)
		testenv.Check(t, err)
	}
	defer func() { testenv.Check(t, q.Close()) }()
	for {
		st, err := q.Stats(t.Context())
		testenv.Check(t, err)
		if st.Pending == 0 {
			return delivered, report
		}
		ds, err := q.Receive(t.Context(), 100)
		testenv.Check(t, err)
		delivered = append(delivered, ds...)
		testenv.Check(t, q.Ack(t.Context(), ds...))
	}
}

// verify fails the test if anything else is delivered than what was in the queue, or
// anything twice. It returns how many messages and events are missing.
func (k *killedQueue) verify(t *testing.T, what string, delivered []queue.Delivery) (messages, events int) {
	t.Helper()
	batchOf := make(map[string]string)
	for _, all := range []map[string][]byte{k.messages, k.removed} {
		for id, payload := range all {
			batchOf[string(payload)] = id
		}
	}
	got := make(map[string]bool)
	events = k.events
	for _, d := range delivered {
		batch, ok := batchOf[string(d.Payload)]
		switch {
		case !isChecked(d.Payload, d.Events): // its receiver notices
		case !ok:
			t.Errorf("%s: %s is delivered, which was never in the queue", what, d.ID)
		case got[batch]:
			t.Errorf("%s: %s is delivered twice", what, d.ID)
		default:
			got[batch] = true
			if k.messages[batch] != nil {
				messages++
				events -= d.Events
			}
		}
	}
	return len(k.messages) - messages, events
}

// A single flipped bit in any place costs at most one message, and nothing wrong is
// delivered.
func TestFlippedBits(t *testing.T) {
	for _, checkpoint := range []bool{false, true} {
		t.Run(fmt.Sprintf("checkpoint=%t", checkpoint), func(t *testing.T) {
			k, r := newKilledQueue(t, checkpoint), rand.New(rand.NewPCG(3, 4))
			salvaged, lost := 0, 0
			flips := flipOffsets(k.files, r)
			for i, flip := range flips {
				if testenv.Race && i%4 > 0 {
					continue // SQLite takes ten times as long under the race detector
				}
				bit := byte(1) << r.IntN(8)
				path := k.write(t, func(files map[string][]byte) { files[flip.ext][flip.at] ^= bit })
				delivered, report := k.contents(t, path)
				what := fmt.Sprintf("bit %#x of byte %d (page %d, byte %d) of queue.db%s", bit, flip.at, flip.at/16384+1, flip.at%16384, flip.ext)
				messages, events := k.verify(t, what, delivered)
				if messages > 1 {
					t.Errorf("%s: %d messages lost, %+v", what, messages, report)
				}
				lost += messages
				if report != nil {
					salvaged++
					k.verifyReport(t, what, events, report)
				}
			}
			t.Logf("%d flips: %d salvaged, %d messages lost", len(flips), salvaged, lost)
		})
	}
}

// A fileOffset is a byte of one of a queue's files.
type fileOffset struct {
	ext string
	at  int
}

// flipOffsets returns random bytes, and those of headers: of the file, of pages and of
// frames of the log.
func flipOffsets(files map[string][]byte, r *rand.Rand) (all []fileOffset) {
	const page, frameHeader, logHeader = 16384, 24, 32
	add := func(ext string, at ...int) {
		for _, at := range at {
			if at < len(files[ext]) {
				all = append(all, fileOffset{ext, at})
			}
		}
	}
	for _, ext := range []string{"", "-wal"} {
		for range 25 {
			add(ext, r.IntN(len(files[ext])))
		}
	}
	add("", 0, 16, 18, 20, 28, 31, 40, 47, 52, 56, 59, 60, 63, 96, 99)
	add("", 100, 101, 103, 104, 105, 107, 108, 110) // the page of the schema
	add("-wal", 0, 3, 7, 11, 15, 16, 23, 24, 31)
	for n := range 8 {
		at := (n + 1) * page
		add("", at, at+1, at+5, at+8, at+16, at+page-1-r.IntN(200))
		at = logHeader + n*(frameHeader+page)
		add("-wal", at+3, at+7, at+8, at+16, at+frameHeader, at+frameHeader+1, at+frameHeader+8)
	}
	return all
}

// verifyReport fails the test if a report is wrong about how many events are lost. If the
// damage hides that messages had been removed, it is wrong by their events.
func (k *killedQueue) verifyReport(t *testing.T, what string, lost int, report *sqlitequeue.SalvageReport) {
	t.Helper()
	if n := int(report.LostEvents); n >= 0 && (n < lost-k.removedEvents || n > lost+k.removedEvents) {
		t.Errorf("%s: %d events lost, %+v", what, lost, report)
	}
}

// However much is cut off the files, what is left of them is delivered.
func TestCutFiles(t *testing.T) {
	for _, checkpoint := range []bool{false, true} {
		k := newKilledQueue(t, checkpoint)
		for _, ext := range []string{"", "-wal"} {
			most := len(k.messages)
			for percent := 0; percent <= 100; percent += 5 {
				size := len(k.files[ext]) * percent / 100
				path := k.write(t, func(files map[string][]byte) { files[ext] = files[ext][:size] })
				delivered, report := k.contents(t, path)
				what := fmt.Sprintf("checkpoint=%t, queue.db%s cut to %d%%", checkpoint, ext, percent)
				messages, events := k.verify(t, what, delivered)
				if report != nil {
					k.verifyReport(t, what, events, report)
				}
				t.Logf("%s: %d messages lost", what, messages)
				if messages > most {
					t.Errorf("%s: more messages lost than of a shorter file", what)
				}
				most = messages
			}
			if most != 0 {
				t.Errorf("%d messages of the whole file lost", most)
			}
		}
	}
}

// The damaged files are kept, but not without bound.
func TestKeptDamagedFiles(t *testing.T) {
	k := newKilledQueue(t, true)
	path := k.write(t, func(map[string][]byte) {})
	var reports []sqlitequeue.SalvageReport
	for range 5 {
		report, err := sqlitequeue.Salvage(path, isChecked)
		testenv.Check(t, err)
		reports = append(reports, report)
		if report.Messages != int64(len(k.messages)) || report.DeadLetters != 1 || report.LostEvents != 0 {
			t.Errorf("report %+v", report)
		}
	}
	kept, err := os.ReadFile(reports[2].KeptAs)
	testenv.Check(t, err)
	all, err := filepath.Glob(path + "*")
	testenv.Check(t, err)
	if len(kept) == 0 || len(all) != 3+2 { // and the queue with its marker
		t.Errorf("files %v", all)
	}
}

// A Salvage that was interrupted is finished by the next, and loses nothing.
func TestInterruptedSalvage(t *testing.T) {
	for name, interrupt := range map[string]func(path string) error{
		"before the new queue is complete": func(path string) error { return os.WriteFile(path+".salvaged", []byte("SQLite"), 0o600) },
		"after the damaged file has gone": func(path string) error {
			if _, err := sqlitequeue.Salvage(path, isChecked); err != nil {
				return err
			}
			if err := os.Rename(path, path+".salvaged"); err != nil {
				return err
			}
			return os.WriteFile(path+"-wal", []byte("the log of the damaged file"), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKilledQueue(t, false)
			path := k.write(t, func(map[string][]byte) {})
			testenv.Check(t, interrupt(path))
			testenv.Check(t, sqlitequeue.FinishSalvage(path))
			delivered, _ := k.contents(t, path)
			if lost, _ := k.verify(t, name, delivered); lost != 0 {
				t.Errorf("%d messages lost", lost)
			}
		})
	}
}
