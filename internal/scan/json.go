package scan

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxLineBytes bounds a line.
const maxLineBytes = 16 << 20

// readText reads NDJSON, JSON objects and arrays of objects one after another, or the
// lines of a text log. It does not wait for more of a live input than its first line.
func (s eventFile) readText(r *bufio.Reader, to eventSink) error {
	if b, _ := r.Peek(len(utf8BOM)); bytes.Equal(b, utf8BOM) {
		r.Discard(len(utf8BOM))
	}
	var head []byte
	var err error
	if s.live {
		head, err = peekLine(r)
	} else {
		head, err = r.Peek(r.Size())
	}
	switch {
	case isNDJSON(head, err == io.EOF):
		return readNDJSON(r, to)
	case !jsonExtensions[s.ext] && isPlainText(head):
		return readLogLines(r, s.modified, to)
	case s.ext == logExtension && bytes.IndexByte(head, 0) >= 0:
		return errors.New("neither text in UTF-8 nor JSON")
	}
	return readJSONValues(r, to)
}

// peekLine returns what r has buffered once a line that is not empty is in it, or all that
// there is room for.
func peekLine(r *bufio.Reader) ([]byte, error) {
	for {
		head, err := r.Peek(r.Buffered())
		if err != nil || len(head) == r.Size() || bytes.IndexByte(bytes.TrimLeft(head, " \t\r\n"), '\n') >= 0 {
			return head, err
		}
		if _, err := r.Peek(len(head) + 1); err != nil {
			return head, err
		}
	}
}

// isNDJSON reports whether a file is NDJSON, by its first bytes, which may be the
// whole file. If the first value is malformed, any later line that is a JSON object
// decides.
func isNDJSON(head []byte, isWholeFile bool) bool {
	head = bytes.TrimLeft(head, " \t\r\n")
	if len(head) == 0 || head[0] == '[' {
		return false
	}
	d := json.NewDecoder(bytes.NewReader(head))
	var first json.RawMessage
	err := d.Decode(&first)
	line, rest, ended := bytes.Cut(head, []byte("\n"))
	switch {
	case err == nil:
		// The first line is exactly one value.
		return first[0] == '{' && len(bytes.TrimSpace(line)) == len(first)
	case errors.Is(err, io.ErrUnexpectedEOF) && !isWholeFile:
		return !ended // one long line, or a long value on many
	}
	for ended {
		line, rest, ended = bytes.Cut(rest, []byte("\n"))
		if len(line) > 0 && line[0] == '{' && json.Valid(line) {
			return true
		}
	}
	return false
}

func readNDJSON(r *bufio.Reader, to eventSink) error {
	for n := 1; ; n++ {
		if r.Buffered() == 0 { // the next line may be long in coming
			if err := to.flush(); err != nil {
				return err
			}
		}
		line, err := readLine(r)
		switch text := bytes.TrimSpace(line); {
		case err == errLineTooLong:
			to.skipRecord(fmt.Errorf("line %d: %w", n, err))
		case err != nil && err != io.EOF:
			return err
		case len(text) == 0:
		case text[0] != '{' || text[len(text)-1] != '}':
			to.skipRecord(fmt.Errorf("line %d is not an event", n))
		default:
			if err := to.addRawEvent(text); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}

var errLineTooLong = fmt.Errorf("an event larger than %d bytes", maxLineBytes)

// readLine returns the next line in newly allocated bytes. It skips a line that is
// too long.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	long := false
	for {
		part, err := r.ReadSlice('\n')
		if long = long || len(line)+len(part) > maxLineBytes; !long {
			line = append(line, part...)
		}
		switch {
		case err == bufio.ErrBufferFull:
		case long && (err == nil || err == io.EOF):
			return nil, errLineTooLong // after the last line, the next call returns io.EOF
		default:
			return line, err
		}
	}
}
