package agent

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"iter"
	"os"
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
	// Report, if not nil, is called with what the source cannot read and what to do about
	// it.
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
