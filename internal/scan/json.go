package scan

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxLine bounds one event on a line.
const maxLine = 16 << 20

// readJSON reads events a line each, or else JSON texts one after another:
// objects, or arrays of them.
func readJSON(r *bufio.Reader, add func([]byte) error, skipped func(error)) error {
	if b, _ := r.Peek(len(bom)); bytes.Equal(b, bom) {
		r.Discard(len(bom))
	}
	head, err := r.Peek(r.Size())
	if isLines(head, err == io.EOF) {
		return readLines(r, add, skipped)
	}
	return readTexts(r, add)
}

// isLines decides by the start of a file, or by all of it, whether it holds an
// event a line. Where the first text in it is broken, a line further down that
// is an event by itself tells.
func isLines(head []byte, whole bool) bool {
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
		// One text on the first line, and no other there.
		return first[0] == '{' && len(bytes.TrimSpace(line)) == len(first)
	case errors.Is(err, io.ErrUnexpectedEOF) && !whole:
		return !ended // a long line, or a long text on many
	}
	for ended {
		line, rest, ended = bytes.Cut(rest, []byte("\n"))
		if len(line) > 0 && line[0] == '{' && json.Valid(line) {
			return true
		}
	}
	return false
}

func readLines(r *bufio.Reader, add func([]byte) error, skipped func(error)) error {
	for n := 1; ; n++ {
		line, err := readLine(r)
		switch text := bytes.TrimSpace(line); {
		case err == errLong:
			skipped(fmt.Errorf("line %d: %w", n, err))
		case err != nil && err != io.EOF:
			return err
		case len(text) == 0:
		case text[0] != '{' || text[len(text)-1] != '}':
			skipped(fmt.Errorf("line %d is not an event", n))
		default:
			if err := add(text); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}

var errLong = fmt.Errorf("an event larger than %d bytes", maxLine)

// readLine returns the next line in bytes of its own. Of one that is too long
// it reads past the end.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	long := false
	for {
		part, err := r.ReadSlice('\n')
		if long = long || len(line)+len(part) > maxLine; !long {
			line = append(line, part...)
		}
		switch {
		case err == bufio.ErrBufferFull:
		case long && (err == nil || err == io.EOF):
			return nil, errLong // of the last line, the next call returns io.EOF
		default:
			return line, err
		}
	}
}

// readTexts reads objects, and arrays of them. Past a text that is broken
// there is no telling where the next begins.
func readTexts(r io.Reader, add func([]byte) error) error {
	d := json.NewDecoder(r)
	in := false // an array
	for n := 1; ; {
		switch more := d.More(); {
		case more && !in && opensArray(d), !more && in:
			if _, err := d.Token(); err != nil {
				return fmt.Errorf("after %d events: %w", n-1, err)
			}
			in = !in
			continue
		case !more:
			// The end, or a bracket too many.
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
		if err := add(text); err != nil {
			return err
		}
	}
}

// opensArray reports whether the next text, which the decoder has begun to
// buffer, is an array.
func opensArray(d *json.Decoder) bool {
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
