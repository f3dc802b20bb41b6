package agent

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/picket-edr/picket/internal/backoff"
	"github.com/picket-edr/picket/internal/logline"
)

// A FileSource is a source of the lines that are appended to text logs. It starts at the
// end of the files that exist when it is first used, and at the beginning of those that
// are created later. A position is where each file was read to, so that an agent that
// continues there reads what was written meanwhile, also if a file has been rotated: by
// renaming it, or by copying and truncating it. A last line without an end waits for it.
//
// The id of an event is a hash of its line, its offset, and a random id that the file got
// in a saved position, so a line that is read again is the same event.
type FileSource struct {
	// Pattern is the path of the files, as filepath.Glob takes it. Compressed files, and
	// rotated ones beside their log, are left out.
	Pattern string
	// Report is called with what the source cannot read and what to do about it; nil
	// means that nobody wants to know.
	Report func(message, hint string)
}

const (
	// filePollInterval is the time between looks at files at whose end the source is.
	filePollInterval = 500 * time.Millisecond
	// maxFollowedFiles bounds the files of one source, and with them its positions.
	maxFollowedFiles = 500
	// maxChunksPerTurn is how many chunks of a file are read before the next file's turn.
	maxChunksPerTurn = 16
	// rotatedFileGrace is how long a rotated file is read after its last growth: programs
	// write to it until they are told to open the new one.
	rotatedFileGrace = time.Minute
	// modificationTimeError is how much earlier than it happened a modification of a file may
	// be dated. A file that was rotated within it is still followed.
	modificationTimeError = 10 * time.Second
	// fingerprintBytes is how much of the start of a file, and before an offset, a fingerprint
	// covers.
	fingerprintBytes = 256
)

// A filePosition is a Position of a FileSource, as JSON.
type filePosition struct {
	Time  time.Time       `json:"time"` // of the position
	Files []*followedFile `json:"files"`
}

// A followedFile is a file, and where it has been read to.
type followedFile struct {
	Path    string `json:"path"`              // where it is, or was before it was rotated
	ID      string `json:"id"`                // random
	Rotated bool   `json:"rotated,omitempty"` // no longer at Path
	Offset  int64  `json:"offset"`            // of the first line that has not been read
	// Fingerprint is a hash of the first HeadBytes of the file, and of what is before Offset.
	// Without HeadBytes the file was empty, and cannot be recognised.
	HeadBytes   int    `json:"head_bytes"`
	Fingerprint string `json:"fingerprint"`
	// SkipLine is set if Offset is inside a line whose start has been read.
	SkipLine bool `json:"skip_line,omitempty"`

	file       *os.File
	info       os.FileInfo // when the file was last looked at
	quietSince time.Time
}

// newFollowedFile returns a file that is followed from an offset. It keeps file.
func newFollowedFile(path string, file *os.File, info os.FileInfo, offset int64) *followedFile {
	f := &followedFile{Path: path, ID: rand.Text(), file: file, info: info}
	f.advance(offset)
	return f
}

// advance sets the offset.
func (f *followedFile) advance(offset int64) {
	f.HeadBytes, _ = f.file.ReadAt(make([]byte, fingerprintBytes), 0)
	f.Offset, f.Fingerprint = offset, fingerprint(f.file, f.HeadBytes, offset)
}

// isContinuedBy reports whether a file has what f had up to its offset.
func (f *followedFile) isContinuedBy(file io.ReaderAt, size int64) bool {
	return size >= max(f.Offset, int64(f.HeadBytes)) && fingerprint(file, f.HeadBytes, f.Offset) == f.Fingerprint
}

// fingerprint returns a hash of the start of a file and of what is before an offset. It
// tells apart a file and another that took its place, however long each is.
func fingerprint(r io.ReaderAt, headBytes int, offset int64) string {
	tail := min(offset, fingerprintBytes)
	b := make([]byte, int64(headBytes)+tail)
	r.ReadAt(b[:headBytes], 0) // what cannot be read has another hash than what was
	r.ReadAt(b[headBytes:], offset-tail)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// Events implements Source.
func (s *FileSource) Events(ctx context.Context, from Position) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		host, _ := os.Hostname()
		w := &logReader{pattern: s.Pattern, report: s.Report, host: host, yield: yield, buf: make([]byte, logline.MaxBytes), errors: map[string]string{}}
		if w.report == nil {
			w.report = func(string, string) {}
		}
		defer w.close()
		var saved filePosition
		if from == "" || json.Unmarshal([]byte(from), &saved) != nil {
			w.startAtEnds()
		} else {
			w.restore(saved)
		}
		w.findFiles()
		if len(w.files) == 0 {
			w.report("no file is there yet: "+s.Pattern, "the source waits for one; does the agent have the right to list the folder?")
		}
		w.emitPosition() // before any line, because lines that are written from now on must not be missed
		for ctx.Err() == nil && !w.stopped {
			if w.findFiles() {
				w.emitPosition()
			}
			if !w.readFiles(ctx) {
				backoff.Sleep(ctx, filePollInterval)
			}
		}
	}
}

// A logReader reads the files of a FileSource.
type logReader struct {
	pattern string
	report  func(message, hint string)
	host    string
	yield   func(Event, error) bool
	stopped bool // yield returned false

	files  []*followedFile // a rotated file is before the one that took its place
	buf    []byte
	errors map[string]string // the last error of each path, to report each once
}

func (w *logReader) close() {
	for _, f := range w.files {
		f.file.Close()
	}
}

// startAtEnds follows the files that exist from their last lines on.
func (w *logReader) startAtEnds() {
	for path := range w.currentFiles() {
		file, info := w.open(path)
		if file == nil {
			continue
		}
		offset, tail := info.Size(), w.buf[:min(info.Size(), int64(len(w.buf)))]
		if n, _ := file.ReadAt(tail, offset-int64(len(tail))); n == len(tail) { // the last line may not have an end yet
			if i := bytes.LastIndexByte(tail, '\n'); i >= 0 {
				offset -= int64(len(tail) - (i + 1))
			}
		}
		w.files = append(w.files, newFollowedFile(path, file, info, offset))
	}
}

// restore continues with the files of a position, wherever they are now.
func (w *logReader) restore(saved filePosition) {
	for _, f := range saved.Files {
		if f == nil || f.Path == "" || len(w.files) >= maxFollowedFiles {
			continue
		}
		if file, info := w.open(f.Path); file != nil {
			if !f.Rotated && f.isContinuedBy(file, info.Size()) && (f.HeadBytes > 0 || len(w.unfollowedRotated(f.Path, saved.Time)) == 0) {
				f.file, f.info = file, info
				w.files = append(w.files, f)
				continue
			}
			file.Close()
		}
		w.restoreRotated(f, saved.Time)
	}
}

// restoreRotated continues with a file that was rotated, and with those that were between
// it and the one that has its path now.
func (w *logReader) restoreRotated(f *followedFile, since time.Time) {
	known := f.Rotated
	found := f.HeadBytes > 0 && w.findRotated(f)
	if found {
		w.files = append(w.files, f)
	}
	if known {
		return
	}
	if !found && f.HeadBytes > 0 {
		w.reportLost(f)
	}
	for _, path := range w.unfollowedRotated(f.Path, since) {
		file, info := w.open(path)
		if file == nil {
			continue
		}
		if len(w.files) >= maxFollowedFiles {
			file.Close()
			return
		}
		between := newFollowedFile(f.Path, file, info, 0)
		if between.Rotated = true; f.HeadBytes == 0 && !found {
			between.ID, found = f.ID, true // its lines may have been sent already
		}
		w.files = append(w.files, between)
	}
}

// unfollowedRotated returns the files that rotation has made of a log since a time and that
// are not followed, the oldest first.
func (w *logReader) unfollowedRotated(path string, since time.Time) []string {
	return slices.DeleteFunc(rotatedSince(path, since.Add(-modificationTimeError)), func(path string) bool {
		info, err := os.Stat(path)
		return err != nil || w.followed(info) != nil
	})
}

// findRotated makes f, which is not at its path any more, the rotated file that has its
// content.
func (w *logReader) findRotated(f *followedFile) bool {
	paths := rotatedSince(f.Path, time.Time{})
	for i := len(paths) - 1; i >= 0; i-- { // the newest first
		file, info := w.open(paths[i])
		if file == nil {
			continue
		}
		if f.isContinuedBy(file, info.Size()) {
			f.file, f.info, f.Rotated, f.quietSince = file, info, true, time.Now()
			return true
		}
		file.Close()
	}
	return false
}

func (w *logReader) reportLost(f *followedFile) {
	w.report("the log "+f.Path+" was rotated, and the old file is not found: lines may be missing",
		"rotate it into the same folder, as NAME.1 or NAME-20060102, and compress it later (delaycompress)")
}

// findFiles notices new files and rotation. It returns whether there was any.
func (w *logReader) findFiles() (changed bool) {
	seen := map[*followedFile]bool{}
	for path, info := range w.currentFiles() {
		f := w.fileAt(path)
		switch g := w.followed(info); {
		case f != nil && os.SameFile(f.info, info):
			seen[f] = true
			written := info.Size() != f.info.Size() || !info.ModTime().Equal(f.info.ModTime())
			if f.info = info; written && !f.isContinuedBy(f.file, info.Size()) {
				seen[w.startOver(f)], changed = true, true
			}
			continue
		case g != nil && !seen[g] && !isAt(g, g.Path): // renamed to another name that matches
			g.Path, g.Rotated = path, false
			seen[g], changed = true, true
			continue
		case g != nil: // another link to it
			continue
		}
		if len(w.files) >= maxFollowedFiles {
			w.reportError(path, fmt.Errorf("more than %d files match %s", maxFollowedFiles, w.pattern))
			continue
		}
		file, info := w.open(path)
		if file == nil {
			continue
		}
		next := newFollowedFile(path, file, info, 0)
		w.files = append(w.files, next)
		seen[next], changed = true, true
	}
	for _, f := range w.files {
		if !f.Rotated && !seen[f] {
			f.Rotated, f.quietSince = true, time.Now()
			changed = true
		}
	}
	return changed
}

// startOver follows a file that was truncated from its beginning, and the rest of what it
// had in its copy, if there is one. It returns the former.
func (w *logReader) startOver(f *followedFile) *followedFile {
	next := newFollowedFile(f.Path, f.file, f.info, 0)
	if w.findRotated(f) {
		w.files = append(w.files, next)
		return next
	}
	w.reportLost(f)
	for i := range w.files {
		if w.files[i] == f {
			w.files[i] = next
		}
	}
	return next
}

// fileAt returns the file that is followed at a path.
func (w *logReader) fileAt(path string) *followedFile {
	for _, f := range w.files {
		if f.Path == path && !f.Rotated {
			return f
		}
	}
	return nil
}

// followed returns the followed file that info is of, nil if it is of none.
func (w *logReader) followed(info os.FileInfo) *followedFile {
	for _, f := range w.files {
		if os.SameFile(f.info, info) {
			return f
		}
	}
	return nil
}

// isAt reports whether a file is at a path.
func isAt(f *followedFile, path string) bool {
	info, err := os.Stat(path)
	return err == nil && os.SameFile(f.info, info)
}

// readFiles reads what there is of each file, up to a bound. It returns whether there may
// be more.
func (w *logReader) readFiles(ctx context.Context) (more bool) {
	for _, f := range w.files {
		before := f.Offset
		more = w.readLines(ctx, f) || more
		if f.Offset != before || !f.Rotated {
			f.quietSince = time.Now()
		}
	}
	w.dropQuietFiles()
	return more && !w.stopped
}

// dropQuietFiles ends the reading of files that were rotated and have not grown since.
func (w *logReader) dropQuietFiles() {
	followed := len(w.files)
	w.files = slices.DeleteFunc(w.files, func(f *followedFile) bool {
		quiet := f.Rotated && time.Since(f.quietSince) >= rotatedFileGrace
		if quiet {
			w.readLastLine(f)
			f.file.Close()
		}
		return quiet
	})
	if len(w.files) < followed {
		w.emitPosition()
	}
}

// readLines yields the complete lines of a file. It returns false once there are none.
func (w *logReader) readLines(ctx context.Context, f *followedFile) bool {
	for range maxChunksPerTurn {
		if ctx.Err() != nil || w.stopped {
			return false
		}
		n, err := f.file.ReadAt(w.buf, f.Offset)
		if err != nil && err != io.EOF {
			w.reportError(f.Path, err)
			return false
		}
		chunk := w.buf[:n]
		switch end := bytes.LastIndexByte(chunk, '\n') + 1; {
		case end > 0:
			w.emitLines(f, chunk[:end])
		case n < len(w.buf): // the end of the last line may follow
			return false
		case f.SkipLine || len(bytes.Trim(chunk, "\x00")) == 0: // a program that goes on after truncation leaves a hole
			f.advance(f.Offset + int64(n))
		default:
			line := bytes.Clone(chunk)
			offset := f.Offset
			f.SkipLine = true
			f.advance(offset + int64(n))
			w.emitLine(f, offset, line, true, w.position())
		}
	}
	return true
}

// emitLines yields lines that begin at the offset of f, and advances f. The position comes
// with the last one, because it takes long to make.
func (w *logReader) emitLines(f *followedFile, lines []byte) {
	type line struct {
		offset int64
		text   []byte
	}
	var all []line
	offset := f.Offset
	for text := range bytes.Lines(lines) {
		content := bytes.Trim(text, "\r\n\x00")
		if !f.SkipLine && len(content) > 0 {
			all = append(all, line{offset, content})
		}
		f.SkipLine = false
		offset += int64(len(text))
	}
	f.advance(offset)
	for i, l := range all {
		var position Position
		if i == len(all)-1 {
			position = w.position()
		}
		w.emitLine(f, l.offset, l.text, false, position)
	}
}

// readLastLine yields the last line of a rotated file, which has no end.
func (w *logReader) readLastLine(f *followedFile) {
	n, _ := f.file.ReadAt(w.buf, f.Offset)
	if text := bytes.Trim(w.buf[:n], "\r\n\x00"); len(text) > 0 && !f.SkipLine {
		w.emitLine(f, f.Offset, text, false, "")
	}
}

func (w *logReader) emitLine(f *followedFile, offset int64, text []byte, truncated bool, position Position) {
	if w.stopped {
		return
	}
	h := sha256.New()
	h.Write([]byte(f.ID))
	h.Write(strconv.AppendInt(nil, offset, 10))
	h.Write([]byte{' '})
	h.Write(text)
	line := logline.Line{Text: text, Truncated: truncated, EventID: hex.EncodeToString(h.Sum(nil)[:16]), Path: f.Path, Host: w.host, OS: runtime.GOOS, Modified: f.info.ModTime()}
	raw, err := line.Event()
	w.stopped = !w.yield(Event{Data: raw, Position: position}, err)
}

// position returns the position after what has been read.
func (w *logReader) position() Position {
	encoded, _ := json.Marshal(filePosition{Time: time.Now().UTC(), Files: w.files}) // strings and numbers always encode
	return Position(encoded)
}

func (w *logReader) emitPosition() {
	if !w.stopped {
		w.stopped = !w.yield(Event{Position: w.position()}, nil)
	}
}

// open opens a file. It reports an error, and returns nil.
func (w *logReader) open(path string) (*os.File, os.FileInfo) {
	file, err := os.Open(path)
	if err == nil {
		var info fs.FileInfo
		if info, err = file.Stat(); err == nil {
			delete(w.errors, path)
			return file, info
		}
		file.Close()
	}
	if !os.IsNotExist(err) {
		w.reportError(path, err)
	}
	return nil, nil
}

// reportError yields an error of a path, if it is not the one that it had before.
func (w *logReader) reportError(path string, err error) {
	if w.errors[path] == err.Error() || w.stopped || len(w.errors) > 2*maxFollowedFiles {
		return
	}
	w.errors[path] = err.Error()
	w.stopped = !w.yield(Event{}, fmt.Errorf("follow %s: %w", path, err))
}

// currentFiles yields the paths that match the pattern, and what is there, but not
// compressed and rotated files.
func (w *logReader) currentFiles() iter.Seq2[string, os.FileInfo] {
	return func(yield func(string, os.FileInfo) bool) {
		paths, _ := filepath.Glob(w.pattern) // the pattern has been checked
		slices.Sort(paths)
		for _, path := range paths {
			if isCompressed(path) || isRotatedOf(path, paths) {
				continue
			}
			info, err := os.Stat(path)
			if err == nil && info.Mode().IsRegular() && !yield(path, info) {
				return
			}
		}
	}
}
