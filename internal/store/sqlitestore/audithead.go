package sqlitestore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/picket-edr/picket/internal/store"
)

// An auditHeadFile is a small file beside the store's that says which entries the audit
// log has, so that it shows when some are missing at one of its ends. It is written after
// each commit and never fsynced, and errors are ignored: a head that lags behind only
// detects less.
type auditHeadFile struct {
	path string
	mu   sync.Mutex
}

func newAuditHeadFile(storePath string) *auditHeadFile {
	return &auditHeadFile{path: storePath + "-audit"}
}

// ReadAuditHead returns the recorded head of the audit log of the store at a path, the
// zero value if none is recorded.
func ReadAuditHead(storePath string) (store.AuditHead, error) {
	return newAuditHeadFile(storePath).read()
}

// AuditHead returns the recorded head of the audit log, the zero value if none is
// recorded.
func (s *Store) AuditHead() (store.AuditHead, error) { return s.auditHead.read() }

func (f *auditHeadFile) read() (h store.AuditHead, err error) {
	content, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return h, nil
	}
	if err == nil {
		err = json.Unmarshal(content, &h)
	}
	if err != nil {
		return store.AuditHead{}, fmt.Errorf("read %s: %w", f.path, err)
	}
	return h, nil
}

// update replaces the head by the one that change makes of it, if that is another.
func (f *auditHeadFile) update(change func(store.AuditHead) store.AuditHead) {
	f.mu.Lock()
	defer f.mu.Unlock()
	old, _ := f.read()
	if h := change(old); h != old {
		_ = f.write(h)
	}
}

// write replaces the file as a whole.
func (f *auditHeadFile) write(h store.AuditHead) error {
	content, err := json.Marshal(h)
	if err != nil {
		return err
	}
	next, err := os.CreateTemp(filepath.Dir(f.path), filepath.Base(f.path)+".*.tmp") // of mode 600
	if err != nil {
		return err
	}
	_, err = next.Write(append(content, '\n'))
	if err = errors.Join(err, next.Close()); err == nil {
		err = os.Rename(next.Name(), f.path)
	}
	if err != nil {
		os.Remove(next.Name())
	}
	return err
}

// advance records that an entry was appended. first is the oldest entry of the log.
func (f *auditHeadFile) advance(e *store.AuditEntry, first int64) {
	f.update(func(h store.AuditHead) store.AuditHead {
		switch {
		case h == store.AuditHead{}:
			return store.AuditHead{First: first, Last: e.N, Hash: e.Hash}
		case e.N > h.Last:
			h.Last, h.Hash = e.N, e.Hash
		}
		return h
	})
}

// prune records that the entries before first are deleted.
func (f *auditHeadFile) prune(first int64) {
	f.update(func(h store.AuditHead) store.AuditHead {
		if h != (store.AuditHead{}) {
			h.First = max(h.First, first)
		}
		return h
	})
}

// lastAuditEntry returns the number and hash that the next entry follows, and the number of
// the oldest entry. If the newest entries are missing, the next one follows the recorded
// head, so that the gap shows.
func (t *tx) lastAuditEntry(recorded store.AuditHead) (last store.AuditHead, err error) {
	err = t.writer.conn.QueryRowContext(context.Background(), "SELECT (SELECT min(n) FROM audit), n, hash FROM audit ORDER BY n DESC LIMIT 1").
		Scan(&last.First, &last.Last, &last.Hash)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return last, err
	}
	if recorded.Last > last.Last {
		last.Last, last.Hash = recorded.Last, recorded.Hash
	}
	if last.First == 0 {
		last.First = last.Last + 1
	}
	return last, nil
}
