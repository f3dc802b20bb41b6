package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/sqlitefile"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore"
)

// repairHint is the hint about a damaged file of the data directory.
const repairHint = "picket doctor --repair, with the same --data, saves what can be read and keeps the damaged file"

// isDamage reports whether an error says that a file of the data directory is damaged.
func isDamage(err error) bool { return sqlitefile.IsDamage(err) || errors.Is(err, queue.ErrDamaged) }

// A repair is what picket doctor --repair did about one file.
type repair struct {
	File     string `json:"file"`
	Repaired bool   `json:"repaired"`
	Lost     bool   `json:"lost"` // something could not be saved
	Text     string `json:"text"`
	KeptAs   string `json:"kept_as,omitempty"` // the damaged file
}

// A repairableFile is a SQLite file of a data directory.
type repairableFile struct {
	path       string
	wasWritten bool // other files say so
	repair     func(ctx context.Context, path string) (repair, error)
}

// repairDataDir salvages the damaged ones of a data directory's SQLite files, and replaces
// those that are lost by empty ones. It returns errSilent if something could not be saved.
func repairDataDir(cmd *cobra.Command, location storeLocation, asJSON bool) (err error) {
	dir := dataDir(location.data)
	files := []*repairableFile{
		{path: dir.eventsFile(), wasWritten: dir.hadStore(), repair: repairStore},
		{path: dir.queueFile(), wasWritten: errors.Is(dir.checkQueueNotLost(), errLostFile), repair: repairQueue},
		{path: dir.diskBufferFile(), wasWritten: hadQueueFile(dir.diskBufferFile()), repair: repairQueue},
	}
	files = slices.DeleteFunc(files, func(f *repairableFile) bool { return !f.wasWritten && isMissing(f.path) })
	if len(files) == 0 {
		_, err := existingDataDir(string(dir))
		return err
	}
	unlock, err := dir.lockUnused(cmd.Context(), dir.eventsFile(), dir.queueFile(), dir.diskBufferFile())
	if err != nil {
		return fmt.Errorf("repair: %w", err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	lost := false
	for _, f := range files {
		if isMissing(f.path) {
			if err := os.WriteFile(f.path, nil, 0o600); err != nil {
				return fmt.Errorf("repair: %w", err)
			}
		}
		done, err := f.repair(cmd.Context(), f.path)
		if err != nil {
			return fmt.Errorf("repair: %w", err)
		}
		done.File = filepath.Base(f.path)
		if done.Repaired {
			location.recordChanges(cmd, "doctor.repair", done.Text, done.File)
		}
		lost = lost || done.Lost
		if asJSON {
			err = printJSONLine(cmd.OutOrStdout(), done)
		} else {
			_, err = fprintfPrintable(cmd.OutOrStdout(), "%-10s %s\n", done.File, done.Text)
		}
		if err != nil {
			return err
		}
	}
	if lost {
		fprintfPrintable(cmd.ErrOrStderr(), "picket: repair: not everything could be saved; a backup may have what is lost\n")
		return errSilent
	}
	return nil
}

const intactText = "intact"

// pagesAreIntact reports whether all pages of a file have the right checksum.
func pagesAreIntact(ctx context.Context, path string) (bool, error) {
	pages, err := sqlitefile.CheckPages(ctx, path)
	if sqlitefile.IsDamage(err) {
		return false, nil
	}
	return pages.Checksums && pages.Damaged == 0 && pages.Corrected == 0, err
}

func repairStore(ctx context.Context, path string) (repair, error) {
	intact, err := pagesAreIntact(ctx, path)
	if err != nil {
		return repair{}, err
	}
	if intact {
		if intact, err = storeIsIntact(ctx, path); intact || err != nil {
			return repair{Text: intactText}, err
		}
	}
	salvaged := path + ".salvaged"
	for _, suffix := range []string{"", "-wal", "-shm"} { // of an interrupted repair
		if err := os.Remove(salvaged + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return repair{}, err
		}
	}
	report, err := sqlitestore.Salvage(ctx, path, salvaged)
	if err != nil {
		return repair{}, err
	}
	head, _ := sqlitestore.ReadAuditHead(path)
	kept, err := sqlitefile.Replace(path, salvaged, time.Now())
	if err != nil {
		return repair{}, err
	}
	text, lost := describeSalvage(report, head)
	return repair{Repaired: true, Lost: lost, Text: text + "; the damaged file is kept as " + filepath.Base(kept), KeptAs: kept}, nil
}

// describeSalvage says what was saved and lost of a store, whose audit log had these
// entries.
func describeSalvage(r *sqlitestore.SalvageReport, head store.AuditHead) (text string, lost bool) {
	auditEntries := head.Last - head.First + 1
	if head.Last == 0 {
		auditEntries = 0
	}
	if r.Unreadable {
		text = "nothing can be read: a new, empty store is in its place; events, alerts, users and tokens are lost"
		if auditEntries > 0 {
			text += ", and " + quantity(auditEntries, "audit entry")
		}
		return text, true
	}
	lostAudit := max(0, auditEntries-r.Tables["audit"])
	text = fmt.Sprintf("repaired: %s saved, %d lost; %s saved, %d lost; %s saved, %d lost", quantity(r.Events, "event"), r.LostEvents,
		quantity(r.Tables["alerts"], "alert"), r.LostAlerts, quantity(r.Tables["audit"], "audit entry"), lostAudit)
	others := slices.DeleteFunc(slices.Clone(r.Incomplete), func(table string) bool {
		return table == "blocks" || table == "parts" || table == "alerts" && r.LostAlerts > 0 || table == "audit" && lostAudit > 0
	})
	if len(others) > 0 {
		text += "; something is lost of " + strings.Join(others, ", ")
	}
	return text, r.LostEvents+r.LostAlerts+lostAudit > 0 || len(others) > 0
}

// storeIsIntact reports whether a store can be opened and has no damaged blocks.
func storeIsIntact(ctx context.Context, path string) (bool, error) {
	s, err := sqlitestore.Open(path, sqlitestore.Options{NoBackground: true})
	if isDamage(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	t, err := s.Totals(ctx)
	if err = errors.Join(err, s.Close()); isDamage(err) {
		return false, nil
	}
	return t.DamagedBlocks == 0, err
}

func repairQueue(ctx context.Context, path string) (repair, error) {
	intact, err := pagesAreIntact(ctx, path)
	if err != nil {
		return repair{}, err
	}
	if intact {
		if err := sqlitequeue.Check(ctx, path); !isDamage(err) {
			return repair{Text: intactText}, err
		}
	}
	report, err := sqlitequeue.Salvage(path, isBatch)
	if err != nil {
		return repair{}, err
	}
	return repair{Repaired: true, KeptAs: report.KeptAs, Lost: report.LostEvents != 0 || report.LostDeadLetters != 0,
		Text: fmt.Sprintf("repaired: %s saved, %s; %s saved, %s; the damaged file is kept as %s",
			quantity(report.Events, "waiting event"), lostText(report.LostEvents), quantity(report.DeadLetters, "dead letter"), lostText(report.LostDeadLetters),
			filepath.Base(report.KeptAs))}, nil
}

// lostText says how many were lost; n below 0 means that the damage hides it.
func lostText(n int64) string {
	if n < 0 {
		return "an unknown number lost"
	}
	return fmt.Sprintf("%d lost", n)
}

// isBatch reports whether a payload is a batch of so many events.
func isBatch(payload []byte, events int) bool {
	b, err := picket.DecodeBatch(payload)
	return err == nil && len(b.Events) == events
}
