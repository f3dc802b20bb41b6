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

// readJSON reads NDJSON, or JSON objects and arrays of objects one after another.
func readJSON(r *bufio.Reader, addEvent func([]byte) error, onSkippedLine func(error)) error {
	if b, _ := r.Peek(len(utf8BOM)); bytes.Equal(b, utf8BOM) {
		r.Discard(len(utf8BOM))
	}
	head, err := r.Peek(r.Size())
	if isNDJSON(head, err == io.EOF) {
		return readNDJSON(r, addEvent, onSkippedLine)
	}
	return readJSONValues(r, addEvent)
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

func readNDJSON(r *bufio.Reader, addEvent func([]byte) error, onSkippedLine func(error)) error {
	for n := 1; ; n++ {
		line, err := readLine(r)
		switch text := bytes.TrimSpace(line); {
		case err == errLineTooLong:
			onSkippedLine(fmt.Errorf("line %d: %w", n, err))
		case err != nil && err != io.EOF:
			return err
		case len(text) == 0:
		case text[0] != '{' || text[len(text)-1] != '}':
			onSkippedLine(fmt.Errorf("line %d is not an event", n))
		default:
			if err := addEvent(text); err != nil {
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

// readJSONValues reads objects and arrays of objects. It stops at a malformed value,
// because nothing marks where the next one begins.
func readJSONValues(r io.Reader, addEvent func([]byte) error) error {
	d := json.NewDecoder(r)
	inArray := false
	for n := 1; ; {
		switch more := d.More(); {
		case more && !inArray && nextIsArray(d), !more && inArray:
			if _, err := d.Token(); err != nil {
				return fmt.Errorf("after %d events: %w", n-1, err)
			}
			inArray = !inArray
			continue
		case !more:
			// The end, or an unmatched bracket.
			if _, err := d.Token(); err != io.EOF {
				return fmt.Errorf("after %d events: %w", n-1, err)
			}
			return nil
		}
		var text json.RawMessage
		if err := d.Decode(&text); err != nil {
			return fmt.Errorf("record %d: %w", n, err)
		}
		n++
		if err := addEvent(text); err != nil {
			return err
		}
	}
}

// nextIsArray reports whether the next value, of which the decoder has buffered the
// first bytes, is an array.
func nextIsArray(d *json.Decoder) bool {
	var b [64]byte
	for buffered := d.Buffered(); ; {
		n, err := buffered.Read(b[:])
		if text := bytes.TrimLeft(b[:n], " \t\r\n"); len(text) > 0 {
			return text[0] == '['
		}
		if err != nil {
			return false
		}
	}
}
