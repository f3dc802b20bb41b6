package scan

import (
	"bufio"
	"bytes"
	"io"
	"time"

	"github.com/picket-edr/picket/internal/logline"
)

// isPlainText reports whether a file that begins with head, and is not NDJSON, is a text
// log. Text that begins as JSON does is JSON, so that its mistakes are reported.
func isPlainText(head []byte) bool {
	if bytes.IndexByte(head, 0) >= 0 { // binary, or UTF-16
		return false
	}
	head = bytes.TrimLeft(head, " \t\r\n")
	if len(head) == 0 || head[0] == '{' {
		return false
	}
	if head[0] == '[' { // an array of objects, or a time or a level in brackets
		rest := bytes.TrimLeft(head[1:], " \t\r\n")
		return len(rest) > 0 && rest[0] != '{' && rest[0] != ']' && rest[0] != '"'
	}
	return true
}

// readLogLines reads the lines of a text log that was last written at a time. Each that is
// not empty is an event.
func readLogLines(r *bufio.Reader, modified time.Time, to eventSink) error {
	for {
		if r.Buffered() == 0 { // the next line may be long in coming
			if err := to.flush(); err != nil {
				return err
			}
		}
		text, truncated, err := readLogLine(r)
		if text = bytes.TrimRight(text, "\r\n"); len(text) > 0 {
			line := logline.Line{Text: text, Truncated: truncated, Modified: modified}
			event, err := line.Event()
			if err == nil {
				err = to.addRawEvent(event)
			}
			if err != nil {
				return err
			}
		}
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			return err
		}
	}
}

// readLogLine returns the next line, or the start of one that is too long.
func readLogLine(r *bufio.Reader) (text []byte, truncated bool, err error) {
	for {
		part, err := r.ReadSlice('\n')
		room := logline.MaxBytes - len(text)
		truncated = truncated || len(bytes.TrimRight(part, "\r\n")) > room
		text = append(text, part[:min(len(part), room)]...)
		if err != bufio.ErrBufferFull {
			return text, truncated, err
		}
	}
}
