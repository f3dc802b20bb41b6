package sqlitequeue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/sqlitefile"
)

// pageBytes is the page size of the file.
const pageBytes = 16384

// A SalvageReport says what was read of a damaged queue.
type SalvageReport struct {
	Messages, Events int64 // kept
	DeadLetters      int64
	LostEvents       int64  // of messages, about; -1 if the damage hides how many
	LostDeadLetters  int64  // likewise
	KeptAs           string // the damaged file
}

// Salvage replaces the damaged queue at path by a new one with all messages and dead
// letters that can be read, in their order, for which intact returns true. It keeps the
// damaged file and its write-ahead log under another name. No other process may use the
// queue. If Salvage is interrupted, the next FinishSalvage or Salvage ends it.
func Salvage(path string, intact func(payload []byte, events int) bool) (SalvageReport, error) {
	report, err := salvage(path, intact)
	if err != nil {
		return report, fmt.Errorf("salvage queue %s: %w", path, err)
	}
	return report, nil
}

func salvage(path string, intact func(payload []byte, events int) bool) (report SalvageReport, err error) {
	if err := FinishSalvage(path); err != nil {
		return report, err
	}
	if err := removeFiles(path + replacementSuffix); err != nil { // unfinished
		return report, err
	}
	from, err := sqlitefile.OpenRows(path, pageBytes, sqlitefile.AllFrames)
	if err != nil {
		return report, err
	}
	to, err := Open(path+replacementSuffix, Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		from.Close()
		return report, err
	}
	s := salvager{to: to, intact: intact, batches: make(map[int64]string)}
	err = s.copyRows(from)
	last, _, _ := readCommitMarker(path)
	s.report.LostEvents, s.report.LostDeadLetters = s.lostEvents(&last), s.lostDeadLetters()
	if err == nil {
		err = s.restoreCounters()
	}
	if err == nil { // FinishSalvage moves no log
		_, err = to.checkpointDB.Exec("PRAGMA wal_checkpoint(TRUNCATE)")
	}
	if err = errors.Join(err, to.Close(), from.Close()); err != nil {
		return report, err
	}
	report = s.report
	if report.KeptAs, err = keepDamaged(path); err != nil {
		return report, err
	}
	if err := pruneDamaged(path); err != nil {
		return report, err
	}
	return report, FinishSalvage(path)
}

// replacementSuffix is added to the name of a damaged queue for the one that will replace it,
// with what is salvaged of it.
const replacementSuffix = ".salvaged"

// FinishSalvage puts a new queue in the place of a damaged one, if Salvage was interrupted
// after it had made it and moved the damaged file away.
func FinishSalvage(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if _, err := os.Stat(path + replacementSuffix); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	// SQLite would take the log of the old file for one of the new file.
	if err := removeFiles(path); err != nil {
		return err
	}
	if err := os.Rename(path+replacementSuffix+"-last", path+"-last"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Rename(path+replacementSuffix, path); err != nil {
		return err
	}
	return removeFiles(path + replacementSuffix) // an empty log
}

// removeFiles removes the files of a queue.
func removeFiles(path string) error {
	var errs []error
	for _, ext := range []string{"", "-wal", "-shm", "-last"} {
		if err := os.Remove(path + ext); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// keptDamagedFiles bounds how many damaged files are kept.
const keptDamagedFiles = 3

// keepDamaged renames a damaged file and its log.
func keepDamaged(path string) (kept string, err error) {
	kept = fmt.Sprintf("%s.damaged-%s", path, time.Now().UTC().Format("20060102T150405.000"))
	// Once the file has gone, FinishSalvage ends what is interrupted.
	if err := os.Rename(path, kept); err != nil {
		return "", err
	}
	if err := os.Rename(path+"-wal", kept+"-wal"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	return kept, nil
}

// pruneDamaged removes the oldest damaged files that were kept.
func pruneDamaged(path string) error {
	all, err := filepath.Glob(path + ".damaged-*[0-9]")
	if err != nil {
		return err
	}
	slices.Sort(all)
	for _, old := range all[:max(0, len(all)-keptDamagedFiles)] {
		if err := removeFiles(old); err != nil {
			return err
		}
	}
	return nil
}

// A salvager copies rows of a damaged queue into a new one.
type salvager struct {
	to     *Queue
	intact func(payload []byte, events int) bool

	batches map[int64]string // the copied rows by id: of messages the batch, of dead letters ""
	last    int64            // the highest id
	old     *counters        // of the damaged queue, if they can be read
	report  SalvageReport

	chunk      []salvagedRow
	chunkBytes int
}

// A salvagedRow is a message or a dead letter.
type salvagedRow struct {
	id         int64
	message    queue.Message
	enqueued   int64
	deadLetter *queue.DeadLetter
}

// maxSalvagedID bounds ids: a damaged one could be next to the highest, so that no more
// could be assigned.
const maxSalvagedID = 1 << 48

func (s *salvager) copyRows(from *sqlitefile.RowReader) error {
	for r, err := range from.RowsOfAllTables() {
		if err != nil {
			return err
		}
		if st, ok := asCounters(r); ok && (s.old == nil || st.Seq > s.old.Seq) {
			s.old = &st
		}
		row, ok := asMessage(r)
		if ok {
			ok = s.intact(row.message.Payload, row.message.Events)
		} else {
			row, ok = asDeadLetter(r)
		}
		if !ok {
			continue
		}
		if err := s.collect(row); err != nil {
			return err
		}
	}
	return s.flush()
}

// collect adds a row to those that flush writes, unless it is a second version of one.
func (s *salvager) collect(row salvagedRow) error {
	batch, seen := s.batches[row.id]
	switch {
	case seen && batch == row.message.ID:
		return nil
	case seen || row.id <= 0 || row.id > maxSalvagedID: // one of the ids is damaged
		row.id = s.last + 1
	}
	s.batches[row.id], s.last = row.message.ID, max(s.last, row.id)
	s.chunk = append(s.chunk, row)
	s.chunkBytes += len(row.message.Payload)
	if row.deadLetter != nil {
		s.chunkBytes += len(row.deadLetter.Payload)
	}
	if len(s.chunk) < 1000 && s.chunkBytes < 4<<20 {
		return nil
	}
	return s.flush()
}

// flush writes what was collected.
func (s *salvager) flush() error {
	rows := s.chunk
	s.chunk, s.chunkBytes = nil, 0
	if len(rows) == 0 {
		return nil
	}
	return s.to.transact(context.Background(), 0, func(t *tx) error {
		for _, row := range rows {
			if err := t.restore(row); err != nil {
				return err
			}
			if row.deadLetter != nil {
				s.report.DeadLetters++
			} else {
				s.report.Messages++
				s.report.Events += int64(row.message.Events)
			}
		}
		t.st.Last = max(t.st.Last, s.last)
		return nil
	})
}

// restore writes a row under the id that it had.
func (t *tx) restore(row salvagedRow) error {
	last := t.st.Last
	t.st.Last = row.id - 1 // the next id is that of the row
	defer func() { t.st.Last = max(last, t.st.Last) }()
	if l := row.deadLetter; l != nil {
		if l.Reason == queue.Rejected {
			t.st.Rejected += int64(l.Events)
		} else {
			t.st.Failed += int64(l.Events)
		}
		return t.addDeadLetter(l, l.Reason)
	}
	now := t.now
	t.now = row.enqueued
	defer func() { t.now = now }()
	return t.addMessage(row.message)
}

// lostEvents returns how many events were in the damaged queue and could not be read, -1
// if the damage hides it. last is what the commit marker has recorded: what was enqueued in
// transactions that are missing is lost.
func (s *salvager) lostEvents(last *counters) int64 {
	if s.old == nil || s.old.Events < 0 || s.old.Events > s.old.Accepted {
		return -1
	}
	missing := int64(0)
	if last.File == s.old.File && last.Seq > s.old.Seq {
		missing = last.Accepted - s.old.Accepted
	}
	return max(0, s.old.Events-s.report.Events) + max(0, missing)
}

// lostDeadLetters returns how many dead letters were in the damaged queue and could not be
// read, -1 if the damage hides it.
func (s *salvager) lostDeadLetters() int64 {
	if s.old == nil || s.old.DeadLetters < 0 || s.old.DeadLetters > s.old.Last {
		return -1
	}
	return max(0, s.old.DeadLetters-s.report.DeadLetters)
}

// restoreCounters makes what the new queue has counted since ever what the damaged one had,
// without the lost events, if that can be read.
func (s *salvager) restoreCounters() error {
	if s.old == nil || s.report.LostEvents < 0 {
		return nil
	}
	return s.to.transact(context.Background(), 0, func(t *tx) error {
		old := s.old
		t.st.Accepted = max(t.st.Accepted, old.Accepted-max(0, old.Events-s.report.Events))
		t.st.Rejected, t.st.Failed = max(t.st.Rejected, old.Rejected), max(t.st.Failed, old.Failed)
		t.st.Purged, t.st.Dropped = old.Purged, old.Dropped
		return nil
	})
}

// asCounters returns the row of table state.
func asCounters(r sqlitefile.Row) (st counters, ok bool) {
	fields := []*int64{&st.File, &st.Seq, &st.Last, &st.Head, &st.Messages, &st.Events, &st.DeadLetters,
		&st.Bytes, &st.RejectedBytes, &st.Accepted, &st.Rejected, &st.Failed, &st.Purged, &st.Dropped}
	if len(r.Values) != 1+len(fields) {
		return st, false
	}
	for i, to := range fields {
		if *to, ok = r.Values[i+1].(int64); !ok {
			return st, false
		}
	}
	return st, true
}

// asMessage returns a row of table message.
func asMessage(r sqlitefile.Row) (row salvagedRow, ok bool) {
	if len(r.Values) != 5 {
		return row, false
	}
	var oks [4]bool
	var events int64
	row.id = r.ID
	row.message.ID, oks[0] = r.Values[1].(string)
	events, oks[1] = r.Values[2].(int64)
	row.enqueued, oks[2] = r.Values[3].(int64)
	row.message.Payload, oks[3] = r.Values[4].([]byte)
	row.message.Events = int(events)
	return row, oks == [4]bool{true, true, true, true} && events > 0
}

// asDeadLetter returns a row of table letter.
func asDeadLetter(r sqlitefile.Row) (row salvagedRow, ok bool) {
	if len(r.Values) != 8 {
		return row, false
	}
	var l queue.DeadLetter
	var oks [7]bool
	var reason string
	var events, at int64
	reason, oks[0] = r.Values[1].(string)
	l.Cause, oks[1] = r.Values[2].(string)
	l.AgentID, oks[2] = r.Values[3].(string)
	l.EventID, oks[3] = r.Values[4].(string)
	events, oks[4] = r.Values[5].(int64)
	at, oks[5] = r.Values[6].(int64)
	l.Payload, oks[6] = r.Values[7].([]byte)
	l.Reason, l.Events, l.Time = queue.DeadReason(reason), int(events), time.UnixMicro(at)
	known := l.Reason == queue.Rejected || l.Reason == queue.Failed
	return salvagedRow{id: r.ID, deadLetter: &l}, known && events > 0 && oks == [7]bool{true, true, true, true, true, true, true}
}
