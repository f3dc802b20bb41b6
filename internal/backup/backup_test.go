package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/sqlitefile"
	"github.com/picket-edr/picket/internal/testenv"
)

// writeFiles writes files, whose names have slashes, into a new directory.
func writeFiles(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		testenv.Check(t, os.MkdirAll(filepath.Dir(path), 0o700))
		testenv.Check(t, os.WriteFile(path, []byte(text), 0o600))
	}
	return dir
}

// readFiles reads all files of a directory.
func readFiles(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	testenv.Check(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[filepath.ToSlash(name)] = string(text)
		return err
	}))
	return files
}

func nothing(string) error { return nil }

// What is restored is what was there, except what is temporary.
func TestRoundTrip(t *testing.T) {
	files := map[string]string{"rules-off": "a\n", "rules/p/x.yml": "title: x", "rules/p/.filters-any": "", "empty": "", "watch-token": "t"}
	dir := writeFiles(t, files)
	for _, name := range []string{"rules/.add-1/pack/y.yml", "rules-off.1.tmp", ".restoring/z"} {
		testenv.Check(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		testenv.Check(t, os.WriteFile(filepath.Join(dir, name), []byte("temporary"), 0o600))
	}
	var want []string
	if runtime.GOOS != "windows" {
		testenv.Check(t, os.Symlink("rules", filepath.Join(dir, "loop")))
		want = []string{"loop"}
	}
	file := filepath.Join(t.TempDir(), "b.zst")
	a, err := Write(t.Context(), file, DataDir{Path: dir, Exclude: []string{"events.db"}}, "v", "sqlite")
	testenv.Check(t, err)
	if diff := cmp.Diff(want, a.LeftOut); diff != "" {
		t.Errorf("left out: %s", diff)
	}
	to := filepath.Join(t.TempDir(), "a", "b")
	m, err := Restore(t.Context(), file, to, nothing)
	testenv.Check(t, err)
	if diff := cmp.Diff(files, readFiles(t, to)); diff != "" {
		t.Errorf("restored: %s", diff)
	}
	if diff := cmp.Diff(a.Manifest, m); diff != "" {
		t.Errorf("manifest: %s", diff)
	}
	verified, err := Verify(t.Context(), file)
	testenv.Check(t, err)
	if diff := cmp.Diff(m, verified); diff != "" {
		t.Errorf("verified: %s", diff)
	}
	// Never over something.
	if _, err := Restore(t.Context(), file, to, nothing); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("restored over files: %v", err)
	}
}

// A file that moves a value from one database to the next, as events move, is in the
// snapshot of one of them, whenever that is taken.
func TestSnapshotsOfOneMoment(t *testing.T) {
	dir := t.TempDir()
	open := func(dir, name string) *sql.DB {
		db, err := sqlitefile.Open(filepath.Join(dir, name), "journal_mode(wal)", "busy_timeout(10000)")
		testenv.Check(t, err)
		t.Cleanup(func() { db.Close() })
		return db
	}
	queue, store := open(dir, "queue.db"), open(dir, "events.db")
	for _, db := range []*sql.DB{queue, store} {
		_, err := db.Exec("CREATE TABLE t (n INTEGER PRIMARY KEY, data BLOB)")
		testenv.Check(t, err)
	}
	var mu sync.Mutex
	put := 0 // values that were put into the queue
	ctx, stop := context.WithCancel(t.Context())
	var moving sync.WaitGroup
	defer moving.Wait()
	defer stop()
	exec := func(db *sql.DB, query string, n int) {
		if _, err := db.Exec(query, n); err != nil {
			t.Error(err)
			stop()
		}
	}
	moving.Go(func() {
		for n := 1; ctx.Err() == nil; n++ {
			exec(queue, "INSERT INTO t VALUES (?, randomblob(5000))", n)
			mu.Lock()
			put = n
			mu.Unlock()
			exec(store, "INSERT INTO t VALUES (?, randomblob(5000))", n)
			exec(queue, "DELETE FROM t WHERE n = ?", n)
			if n%50 == 0 {
				_, err := queue.Exec("PRAGMA wal_checkpoint(PASSIVE)")
				if err != nil {
					t.Error(err)
				}
			}
		}
	})
	for range 10 {
		mu.Lock()
		before := put
		mu.Unlock()
		file := filepath.Join(t.TempDir(), "b.zst")
		_, err := Write(t.Context(), file, DataDir{Path: dir, Databases: []string{"queue.db", "events.db"}}, "v", "sqlite")
		testenv.Check(t, err)
		to := t.TempDir()
		_, err = Restore(t.Context(), file, to, nothing)
		testenv.Check(t, err)
		have := make(map[int]bool)
		for _, name := range []string{"queue.db", "events.db"} {
			db := open(to, name)
			var check string
			testenv.Check(t, db.QueryRow("PRAGMA integrity_check").Scan(&check))
			if check != "ok" {
				t.Fatalf("%s: %s", name, check)
			}
			rows, err := db.Query("SELECT n FROM t")
			testenv.Check(t, err)
			for rows.Next() {
				var n int
				testenv.Check(t, rows.Scan(&n))
				have[n] = true
			}
			testenv.Check(t, rows.Err())
		}
		for n := 1; n <= before; n++ {
			if !have[n] {
				t.Fatalf("value %d of %d is in neither database", n, before)
			}
		}
	}
}

// A database that was set aside because it is damaged is copied as it is; one that
// events pass through is an error.
func TestDamagedDatabase(t *testing.T) {
	damagedFile := "SQLite format 3\x00" + strings.Repeat("x", 5000)
	dir := writeFiles(t, map[string]string{"queue.db.damaged": damagedFile})
	file := filepath.Join(t.TempDir(), "b.zst")
	_, err := Write(t.Context(), file, DataDir{Path: dir, Databases: []string{"queue.db"}}, "v", "sqlite")
	testenv.Check(t, err)
	to := t.TempDir()
	_, err = Restore(t.Context(), file, to, nothing)
	testenv.Check(t, err)
	if diff := cmp.Diff(map[string]string{"queue.db.damaged": damagedFile}, readFiles(t, to)); diff != "" {
		t.Error(diff)
	}
	dir = writeFiles(t, map[string]string{"queue.db": damagedFile})
	if _, err := Write(t.Context(), file, DataDir{Path: dir, Databases: []string{"queue.db"}}, "v", "sqlite"); err == nil {
		t.Error("a damaged queue was backed up")
	}
	if _, err := Verify(t.Context(), file); err != nil {
		t.Errorf("the failed backup damaged the one before: %v", err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(file)); len(entries) != 1 {
		t.Errorf("the failed backup left %v", entries)
	}
}

// An error or a restore that was interrupted leaves nothing that could be taken for a
// data directory.
func TestRestoreFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "b.zst")
	_, err := Write(t.Context(), file, DataDir{Path: writeFiles(t, map[string]string{"a": "1", "b/c": "2"})}, "v", "sqlite")
	testenv.Check(t, err)
	failed := errors.New("failed")
	to := filepath.Join(t.TempDir(), "data")
	if _, err := Restore(t.Context(), file, to, func(dir string) error {
		if !IsPartlyRestored(to) {
			t.Error("a restore that has not ended is not detected")
		}
		return failed
	}); !errors.Is(err, failed) {
		t.Errorf("restore: %v", err)
	}
	if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a failed restore leaves its directory: %v", err)
	}
	// As it is after a kill.
	testenv.Check(t, os.MkdirAll(filepath.Join(to, restoreStagingName, "b"), 0o700))
	if !IsPartlyRestored(to) {
		t.Error("an interrupted restore is not detected")
	}
	_, err = Restore(t.Context(), file, to, nothing)
	testenv.Check(t, err)
	if diff := cmp.Diff(map[string]string{"a": "1", "b/c": "2"}, readFiles(t, to)); diff != "" || IsPartlyRestored(to) {
		t.Errorf("restored after an interruption: %s", diff)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Restore(ctx, file, filepath.Join(t.TempDir(), "x"), nothing); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// An entry is what a test puts into an archive.
type entry struct {
	header tar.Header
	text   string
}

func file(name, text string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600}, text}
}

// pack writes an archive of entries. A manifest of nil stands for the right one.
func pack(t testing.TB, entries []entry, manifest []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z, err := zstd.NewWriter(&out)
	testenv.Check(t, err)
	w := tar.NewWriter(z)
	m := Manifest{Format: formatVersion, Created: time.Unix(0, 0).UTC()}
	for _, e := range entries {
		e.header.Size = int64(len(e.text))
		testenv.Check(t, w.WriteHeader(&e.header))
		_, err := w.Write([]byte(e.text))
		testenv.Check(t, err)
		m.Files = append(m.Files, File{strings.TrimPrefix(e.header.Name, dataPrefix), e.header.Size, sha256Of(e.text)})
	}
	if manifest == nil {
		manifest, err = json.Marshal(m)
		testenv.Check(t, err)
	}
	if len(manifest) > 0 {
		testenv.Check(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: manifestName, Size: int64(len(manifest))}))
		_, err = w.Write(manifest)
		testenv.Check(t, err)
	}
	testenv.Check(t, errors.Join(w.Close(), z.Close()))
	return out.Bytes()
}

// No archive can write outside the directory, or be taken for a complete one.
func TestForeignArchives(t *testing.T) {
	good := []entry{file("data/a", "1")}
	manifest := func(f ...File) []byte {
		text, _ := json.Marshal(Manifest{Format: formatVersion, Files: f})
		return text
	}
	for name, archive := range map[string][]byte{
		"not an archive":     []byte("hello"),
		"empty":              nil,
		"up":                 pack(t, []entry{file("data/../x", "1")}, nil),
		"absolute":           pack(t, []entry{file("/etc/x", "1")}, nil),
		"absolute below":     pack(t, []entry{file("data//etc/x", "1")}, nil),
		"without prefix":     pack(t, []entry{file("x", "1")}, nil),
		"backslash":          pack(t, []entry{file(`data/..\x`, "1")}, nil),
		"drive":              pack(t, []entry{file("data/c:x", "1")}, nil),
		"control character":  pack(t, []entry{file("data/a\x01", "1")}, nil),
		"staging":            pack(t, []entry{file("data/.restoring/a", "1")}, nil),
		"twice":              pack(t, []entry{file("data/a", "1"), file("data/a", "1")}, nil),
		"below a file":       pack(t, []entry{file("data/a", "1"), file("data/a/b", "1")}, nil),
		"link":               pack(t, []entry{{tar.Header{Typeflag: tar.TypeSymlink, Name: "data/a", Linkname: "/etc"}, ""}}, nil),
		"hard link":          pack(t, []entry{{tar.Header{Typeflag: tar.TypeLink, Name: "data/a", Linkname: "/etc/passwd"}, ""}}, nil),
		"directory":          pack(t, []entry{{tar.Header{Typeflag: tar.TypeDir, Name: "data/a/"}, ""}}, nil),
		"no manifest":        pack(t, good, []byte{}),
		"no JSON":            pack(t, good, []byte("{")),
		"newer":              pack(t, good, []byte(`{"format":2}`)),
		"not in manifest":    pack(t, good, manifest()),
		"not in the archive": pack(t, good, manifest(File{"a", 1, sha256Of("1")}, File{"b", 1, sha256Of("1")})),
		"other hash":         pack(t, good, manifest(File{"a", 1, sha256Of("2")})),
		"other size":         pack(t, good, manifest(File{"a", 2, sha256Of("1")})),
		"other name":         pack(t, good, manifest(File{"b", 1, sha256Of("1")})),
		"cut short":          pack(t, good, nil)[:60],
		"more after it":      append(pack(t, good, nil), pack(t, good, nil)...),
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			path := filepath.Join(parent, "archive")
			testenv.Check(t, os.WriteFile(path, archive, 0o600))
			dir := filepath.Join(parent, "deep", "data")
			_, err := Restore(t.Context(), path, dir, nothing)
			if err == nil {
				t.Error("it was restored")
			} else if name != "below a file" && !errors.Is(err, picket.ErrInvalid) {
				t.Errorf("restore: %v", err)
			}
			if diff := cmp.Diff(map[string]string{"archive": string(archive)}, readFiles(t, parent)); diff != "" {
				t.Errorf("files are left: %s", diff)
			}
			if _, err := os.Stat(dir); err == nil {
				t.Error("the directory is left")
			}
		})
	}
	if _, err := read(t.Context(), bytes.NewReader(pack(t, good, nil)), func(string, int64, io.Reader) error { return nil }); err == nil {
		t.Error("a file that was not read has no error") // its hash is that of nothing
	}
}

// Any change of an archive is detected.
func TestFlippedBits(t *testing.T) {
	archive := pack(t, []entry{file("data/a", strings.Repeat("some text ", 100)), file("data/b", "2")}, nil)
	want, err := readAll(t.Context(), archive)
	testenv.Check(t, err)
	for i := range archive {
		for bit := range 8 {
			changed := slices.Clone(archive)
			changed[i] ^= 1 << bit
			if got, err := readAll(t.Context(), changed); err == nil && !cmp.Equal(want, got) {
				t.Fatalf("bit %d of byte %d changes what is read", bit, i)
			}
		}
		if _, err := readAll(t.Context(), archive[:i]); err == nil {
			t.Fatalf("%d of %d bytes are read as a whole archive", i, len(archive))
		}
	}
}

// readAll reads the files of an archive.
func readAll(ctx context.Context, archive []byte) (map[string]string, error) {
	files := make(map[string]string)
	_, err := read(ctx, bytes.NewReader(archive), func(name string, size int64, content io.Reader) error {
		text, err := io.ReadAll(io.LimitReader(content, 1<<20))
		if err != nil {
			return err
		}
		if int64(len(text)) < size {
			return fmt.Errorf("%d bytes are too many for this test", size)
		}
		files[name] = string(text)
		return nil
	})
	return files, err
}

// Reading takes a bounded amount of memory, and gives no name that leads outside.
func FuzzRead(f *testing.F) {
	f.Add(pack(f, []entry{file("data/a", "1"), file("data/rules/b", "2")}, nil))
	f.Add(pack(f, nil, nil))
	f.Add(pack(f, []entry{file("data/../x", "1")}, nil))
	f.Add([]byte("\x28\xb5\x2f\xfd"))
	f.Fuzz(func(t *testing.T, archive []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := read(t.Context(), bytes.NewReader(archive), func(name string, _ int64, content io.Reader) error {
			if !filepath.IsLocal(filepath.FromSlash(name)) {
				t.Errorf("%q is read", name)
			}
			_, err := io.Copy(io.Discard, io.LimitReader(content, 1<<20))
			return err
		})
		runtime.ReadMemStats(&after)
		if err != nil && !errors.Is(err, picket.ErrInvalid) {
			t.Errorf("error of another kind: %v", err)
		}
		if got, limit := after.TotalAlloc-before.TotalAlloc, uint64(1024*len(archive)+64<<20); got > limit {
			t.Errorf("%d bytes allocated for %d, more than %d", got, len(archive), limit)
		}
	})
}

func sha256Of(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hexHash(sum[:])
}
