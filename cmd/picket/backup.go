package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket/internal/backup"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/store"
)

// queueFiles returns the files of a data directory in which events wait, in the order in
// which they pass through them.
func queueFiles() []string { return []string{"spool/spool.db", "spill.db", "queue.db"} }

// queueAndStoreFiles returns the files of queueFiles, and then that of the store.
func queueAndStoreFiles() []string { return append(queueFiles(), "events.db") }

func newBackup() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write the data directory into one archive, while the server runs",
		Long: `Writes everything in the data directory into one archive, while the server and its
workers run: the store, the queue with what waits and its dead letters, the disk
buffer, rule packs, exceptions, the ids of disabled rules, accounts and secrets.
Every event that was acknowledged before is in it. The archive has a hash of each file. Only
its owner can read it; keep it as safe as the server.

FILE is replaced when the new archive is complete. picket restore restores it, and
picket restore --verify checks it.

With --store mongodb://..., the archive has what is not in the database: first back
up the data directory, then the database, with its own tools. A queue on Redis is
not in the archive either.`,
		Example: `  picket backup /backup/picket.tar.zst --data /var/lib/picket
  picket backup picket.tar.zst --store mongodb://host:27017/picket`,
		Args: cobra.ExactArgs(1),
	}
	location := addStoreFlags(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print what was written as JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		d, engine, err := location.dirToBackUp()
		if err != nil {
			return err
		}
		a, err := backup.Write(cmd.Context(), args[0], d, version, engine)
		if err != nil {
			return withBackupHint(err, args[0])
		}
		location.recordChanges(cmd, "backup", "sha256 "+a.ArchiveSHA256, args[0])
		return printBackup(cmd, args[0], a, *asJSON)
	}
	return cmd
}

// withBackupHint adds a hint to the error of a backup into a file.
func withBackupHint(backupErr error, file string) error {
	switch {
	case errors.Is(backupErr, os.ErrPermission):
		return withHint(backupErr, "run it as the user that the server runs as, with a FILE that this user may write")
	case isMissing(filepath.Dir(file)):
		return withHint(backupErr, "make the directory "+filepath.Dir(file)+" first")
	}
	return backupErr
}

// dirToBackUp returns the data directory, and the engine of its store.
func (l storeLocation) dirToBackUp() (d backup.DataDir, storeEngine string, err error) {
	d = backup.DataDir{Path: l.data, Databases: queueAndStoreFiles()}
	if !l.isRemote() {
		_, err := l.existingDir()
		return d, "sqlite", err
	}
	if _, err := os.Stat(l.data); err != nil {
		return d, "", withHint(fmt.Errorf("open data directory: %w", err), "give the server's --data, or start picket serve once")
	}
	d.Exclude = []string{"events.db", "events.db-wal", "events.db-shm", "events.db-audit"} // from before the store was in the database
	return d, "mongodb", nil
}

func printBackup(cmd *cobra.Command, file string, a backup.ArchiveInfo, asJSON bool) error {
	if asJSON {
		return printJSONLine(cmd.OutOrStdout(), struct {
			File    string   `json:"file"`
			Bytes   int64    `json:"bytes"`
			SHA256  string   `json:"sha256"`
			Files   int      `json:"files"`
			Data    int64    `json:"data_bytes"`
			LeftOut []string `json:"left_out"`
		}{file, a.ArchiveBytes, a.ArchiveSHA256, len(a.Files), a.Manifest.Bytes(), append([]string{}, a.LeftOut...)})
	}
	for _, name := range a.LeftOut {
		fprintfPrintable(cmd.ErrOrStderr(), "picket: note: not in the archive: %s\n", name)
	}
	_, err := fprintfPrintable(cmd.OutOrStdout(), "wrote %s: %s, %s in %s, sha256 %s\n",
		file, quantity(len(a.Files), "file"), sizeText(a.Manifest.Bytes()), sizeText(a.ArchiveBytes), a.ArchiveSHA256)
	return err
}

func newRestore() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Restore an archive of picket backup into a new data directory, or verify it",
		Long: `Restores an archive that picket backup wrote into a data directory, which is empty
or does not exist, and verifies the hash of every file. Nothing is left in the
directory if that fails. Run it as the user that the server runs as, then start
picket serve with the same --data.

The agents may have sent events since the backup that are not in it. What was
accepted and not stored at the time of the backup is processed now.`,
		Example: `  picket restore /backup/picket.tar.zst --data /var/lib/picket
  picket restore --verify /backup/picket.tar.zst`,
		Args: cobra.ExactArgs(1),
	}
	data := addDataFlag(cmd)
	verify := cmd.Flags().Bool("verify", false, "only check that the archive is complete and undamaged")
	asJSON := cmd.Flags().Bool("json", false, "print what the archive holds as JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		var m backup.Manifest
		did := "verified"
		if *verify && cmd.Flags().Changed("data") {
			return usagef("--verify reads only the archive: it and --data do not go together")
		}
		if *verify {
			m, err = backup.Verify(cmd.Context(), args[0])
		} else {
			did = "restored"
			m, err = backup.Restore(cmd.Context(), args[0], *data, func(dir string) error { return prepareRestored(cmd, dir, args[0]) })
		}
		if err != nil {
			return withRestoreHint(err)
		}
		if *asJSON {
			return printJSONLine(cmd.OutOrStdout(), m)
		}
		if m.Store != "sqlite" {
			fprintfPrintable(cmd.ErrOrStderr(), "picket: note: the store is in MongoDB and not in this archive: restore it with the database's own tools\n")
		}
		_, err = fprintfPrintable(cmd.OutOrStdout(), "%s: %s, %s, of %s\n", did, quantity(len(m.Files), "file"), sizeText(m.Bytes()), formatTime(m.Created))
		return err
	}
	return cmd
}

// prepareRestored makes the files of a restored directory those of another server than the
// one that was backed up.
func prepareRestored(cmd *cobra.Command, dir, archive string) error {
	if err := releaseRestoredLeases(dir); err != nil {
		return err
	}
	// It has the address of the original.
	if err := os.Remove(dataDir(dir).serverFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if isMissing(dataDir(dir).eventsFile()) {
		return nil // the store is in MongoDB
	}
	return storeLocation{data: dir, name: "sqlite"}.withStore(cmd, func(s store.Store) error {
		return addCLIAuditEntry(cmd, s, "restore", archive, "")
	})
}

// releaseRestoredLeases ends the leases in the queues of a restored directory: the
// processes that held them may still run, on the original.
func releaseRestoredLeases(dir string) error {
	for _, name := range queueFiles() {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if _, err := os.Stat(file); err != nil {
			continue
		}
		if err := sqlitequeue.ReleaseLeases(file); err != nil {
			return err
		}
	}
	return nil
}

// withRestoreHint adds a hint to the error of a restore.
func withRestoreHint(restoreErr error) error {
	switch {
	case errors.Is(restoreErr, backup.ErrNotEmpty):
		return withHint(restoreErr, "stop the server and move the directory away, or give another --data")
	case errors.Is(restoreErr, backup.ErrNoSpaceToRestore):
		return withHint(restoreErr, "make room, or give a --data on another disk")
	case errors.Is(restoreErr, os.ErrPermission):
		return withHint(restoreErr, dataPermissionHint)
	}
	return restoreErr
}

// checkNotPartlyRestored returns an error if a restore into a data directory has not
// ended.
func checkNotPartlyRestored(dir string) error {
	if !backup.IsPartlyRestored(dir) {
		return nil
	}
	return withHint(fmt.Errorf("the data directory %s is partly restored", dir), "empty it and run picket restore again")
}
