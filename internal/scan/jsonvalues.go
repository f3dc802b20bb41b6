package scan

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
)

// readJSONValues reads objects and arrays of objects. It stops where no value begins,
// because nothing marks where the next one does. Whether an object is valid is left to
// detection.
func readJSONValues(r *bufio.Reader, to eventSink) error {
	v := jsonValues{r: r, to: to}
	for {
		c, err := v.nextToken()
		switch {
		case err == io.EOF && !v.inArray:
			return nil
		case err == io.EOF:
			return fmt.Errorf("after %d events: %w", v.n, io.ErrUnexpectedEOF)
		case err != nil:
			return err
		case c == '[' && !v.inArray, c == ']' && v.inArray, c == ',' && v.inArray:
			v.inArray = c != ']'
			r.Discard(1)
			continue
		case c == ']' || c == ',' || c == '}':
			return fmt.Errorf("after %d events: unexpected %q", v.n, c)
		}
		v.n++
		text, err := v.readValue(c)
		if err != nil {
			return fmt.Errorf("record %d: %w", v.n, err)
		}
		if err := to.addRawEvent(text); err != nil {
			return err
		}
	}
}

// jsonValues reads a sequence of JSON values.
type jsonValues struct {
	r       *bufio.Reader
	to      eventSink
	n       int // values so far
	inArray bool
}

// nextToken returns the next byte that is no space, without reading it.
func (v *jsonValues) nextToken() (byte, error) {
	for {
		if v.r.Buffered() == 0 { // what follows may be long in coming
			if err := v.to.flush(); err != nil {
				return 0, err
			}
		}
		c, err := v.r.ReadByte()
		if err != nil {
			return 0, err
		}
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return c, v.r.UnreadByte()
		}
	}
}

// readValue returns the value that begins with c, in newly allocated bytes.
func (v *jsonValues) readValue(c byte) ([]byte, error) {
	switch {
	case c == '{', c == '[', c == '"' && v.inArray:
	case v.inArray: // a scalar, which detection reports
		return v.readWhile(func(b []byte) int { return bytes.IndexAny(b, ",] \t\r\n") })
	default:
		return nil, fmt.Errorf("invalid character %q: an event begins with {", c)
	}
	var s valueScanner
	return v.readWhile(s.end)
}

// readWhile returns the bytes up to the index in what follows that end returns; while
// end returns -1, it reads on.
func (v *jsonValues) readWhile(end func([]byte) int) ([]byte, error) {
	var text []byte
	for {
		if _, err := v.r.Peek(1); err == io.EOF {
			return nil, io.ErrUnexpectedEOF
		} else if err != nil {
			return nil, err
		}
		part, _ := v.r.Peek(v.r.Buffered())
		n := end(part)
		if n >= 0 {
			part = part[:n]
		}
		if len(text)+len(part) > maxLineBytes {
			return nil, errLineTooLong
		}
		text = append(text, part...)
		v.r.Discard(len(part))
		if n >= 0 {
			return text, nil
		}
	}
}

// A valueScanner finds the end of an object, array or string whose bytes come in parts.
type valueScanner struct {
	depth             int
	inString, escaped bool
}

// end returns the index behind the value, -1 if it goes on behind b.
func (s *valueScanner) end(b []byte) int {
	i := 0
	if s.escaped && len(b) > 0 {
		s.escaped, i = false, 1
	}
	for i < len(b) {
		if s.inString {
			n := bytes.IndexByte(b[i:], '"')
			if n < 0 {
				s.escaped = endsInEscape(b[i:])
				return -1
			}
			s.inString = endsInEscape(b[i : i+n])
			if i += n + 1; !s.inString && s.depth == 0 {
				return i
			}
			continue
		}
		switch b[i] {
		case '"':
			s.inString = true
		case '{', '[':
			s.depth++
		case '}', ']':
			if s.depth--; s.depth == 0 {
				return i + 1
			}
		}
		i++
	}
	return -1
}

// endsInEscape reports whether a part of a string ends with a backslash that escapes what
// follows.
func endsInEscape(text []byte) bool {
	n := 0
	for n < len(text) && text[len(text)-1-n] == '\\' {
		n++
	}
	return n%2 == 1
}
