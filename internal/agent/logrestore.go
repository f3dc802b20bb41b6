package agent

import (
	"bytes"
	"os"
	"slices"
	"time"
)

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
