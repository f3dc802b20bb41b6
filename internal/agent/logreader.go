package agent

import (
	"bytes"
	"context"
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

	"github.com/picket-edr/picket/internal/logline"
)

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
