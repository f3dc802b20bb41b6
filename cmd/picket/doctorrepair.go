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
	Text     string `json:"text"`
	KeptAs   string `json:"kept_as,omitempty"` // the damaged file
}

// repairDataDir salvages the damaged ones of a data directory's SQLite files.
func repairDataDir(cmd *cobra.Command, dir dataDir, asJSON bool) error {
	if _, err := existingDataDir(string(dir)); err != nil {
		return err
	}
	for _, f := range []struct {
		path   string
		repair func(ctx context.Context, path string) (repair, error)
	}{{dir.eventsFile(), repairStore}, {dir.queueFile(), repairQueue}, {dir.diskBufferFile(), repairQueue}} {
		if _, err := os.Stat(f.path); errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err := sqlitefile.CheckUnused(cmd.Context(), f.path); err != nil {
			return withHint(fmt.Errorf("repair: %w", err), "stop the server and its workers")
		}
		done, err := f.repair(cmd.Context(), f.path)
		if err != nil {
			return fmt.Errorf("repair: %w", err)
		}
		done.File = filepath.Base(f.path)
		if asJSON {
			err = printJSONLine(cmd.OutOrStdout(), done)
		} else {
			_, err = fprintfPrintable(cmd.OutOrStdout(), "%-10s %s\n", done.File, done.Text)
		}
		if err != nil {
			return err
		}
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
	kept, err := sqlitefile.Replace(path, salvaged, time.Now())
	if err != nil {
		return repair{}, err
	}
	text := fmt.Sprintf("repaired: %s saved, %d lost; %s", quantity(report.Events, "event"), report.LostEvents, quantity(report.Tables["alerts"], "alert"))
	incomplete := slices.DeleteFunc(report.Incomplete, func(table string) bool { return table == "blocks" || table == "parts" })
	if len(incomplete) > 0 {
		text += "; something is lost of " + strings.Join(incomplete, ", ")
	}
	return repair{Repaired: true, Text: text + "; the damaged file is kept as " + filepath.Base(kept), KeptAs: kept}, nil
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
	lost := fmt.Sprintf("%d lost", report.LostEvents)
	if report.LostEvents < 0 {
		lost = "an unknown number lost"
	}
	return repair{Repaired: true, KeptAs: report.KeptAs, Text: fmt.Sprintf("repaired: %s saved, %s; %s; the damaged file is kept as %s",
		quantity(report.Events, "waiting event"), lost, quantity(report.DeadLetters, "dead letter"), filepath.Base(report.KeptAs))}, nil
}

// isBatch reports whether a payload is a batch of so many events.
func isBatch(payload []byte, events int) bool {
	b, err := picket.DecodeBatch(payload)
	return err == nil && len(b.Events) == events
}
