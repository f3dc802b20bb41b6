package ingest

import (
	"bytes"
	"fmt"
	"net/http"

	"github.com/picket-edr/picket/internal/httpapi"
)

// A eventSpan is the position of one event in a body.
type eventSpan struct{ start, end int }

// A eventSplitter finds the events in a body while it is being read, so that a body
// past a limit is rejected early. It only balances brackets; whether a span is
// valid JSON is checked later.
type eventSplitter struct {
	maxEventBytes, maxEvents int
	lines                    bool // each line is an event (NDJSON); else objects, or one array of values

	spans []eventSpan
	at    int // how far the body has been scanned
	start int // of the event being scanned, -1 between events
	space int // bytes of white space since the last event

	array, closed, comma bool // the body is an array; it has ended; a comma is due
	depth                int
	inString, escaped    bool
}

var errNotObjectOrArray = fmt.Errorf("expected an object or an array")

// scan scans the new part of a growing body.
func (s *eventSplitter) scan(body []byte) error {
	if s.lines {
		return s.scanNewLines(body)
	}
	for ; s.at < len(body); s.at++ {
		c := body[s.at]
		if s.start >= 0 {
			if s.at-s.start >= s.maxEventBytes {
				return s.tooLarge()
			}
			if s.inString {
				switch {
				case s.escaped:
					s.escaped = false
				case c == '\\':
					s.escaped = true
				case c == '"':
					s.inString = false
				default:
					// Most of a body is strings: skip to the next byte that can
					// end one, in small steps, so that the work stays linear.
					rest := body[s.at:min(len(body), s.at+64)]
					n := bytes.IndexByte(rest, '"')
					if n < 0 {
						n = len(rest)
					}
					if i := bytes.IndexByte(rest[:n], '\\'); i >= 0 {
						n = i
					}
					s.at += n - 1
				}
				continue
			}
			switch c {
			case '"':
				s.inString = true
			case '{', '[':
				s.depth++
			case '}', ']':
				if s.depth == 0 { // ends the array, and a scalar in it
					s.endElement(s.at)
					s.closed = true
					continue
				}
				if s.depth--; s.depth == 0 {
					s.endElement(s.at + 1)
				}
			case ',':
				if s.depth == 0 {
					s.endElement(s.at)
					s.comma = false
				}
			}
			continue
		}
		if c == ' ' || c == '\t' || c == '\r' || c == '\n' {
			if s.space++; s.space > s.maxEventBytes {
				return s.tooLarge()
			}
			continue
		}
		s.space = 0
		if err := s.readSeparator(c); err != nil {
			return err
		}
	}
	return nil
}

// readSeparator handles a byte between events.
func (s *eventSplitter) readSeparator(c byte) error {
	switch {
	case s.closed:
		return fmt.Errorf("something after the end of the array at byte %d", s.at)
	case c == '[' && !s.array && len(s.spans) == 0:
		s.array = true
	case c == ']' && s.array && (s.comma || len(s.spans) == 0):
		s.closed = true
	case c == ',' && s.array && s.comma:
		s.comma = false
	case s.array && s.comma:
		return fmt.Errorf("expected a comma or the end of the array at byte %d", s.at)
	case s.array && (c == ',' || c == ']'):
		return fmt.Errorf("expected a value at byte %d", s.at)
	case s.array || c == '{':
		if len(s.spans) == s.maxEvents {
			return tooManyEventsError(s.maxEvents)
		}
		s.start, s.depth = s.at, 0
		switch c {
		case '{', '[':
			s.depth = 1
		case '"':
			s.inString = true
		}
	default:
		return fmt.Errorf("%w at byte %d", errNotObjectOrArray, s.at)
	}
	return nil
}

func (s *eventSplitter) endElement(at int) {
	s.spans = append(s.spans, eventSpan{s.start, at})
	s.start, s.comma = -1, true
}

func (s *eventSplitter) scanNewLines(body []byte) error {
	if s.start < 0 {
		s.start = 0
	}
	for {
		i := bytes.IndexByte(body[s.at:], '\n')
		if i < 0 {
			s.at = len(body)
			if s.at-s.start > s.maxEventBytes {
				return s.tooLarge()
			}
			return nil
		}
		if err := s.endLine(body, s.at+i); err != nil {
			return err
		}
		s.at += i + 1
		s.start = s.at
	}
}

func (s *eventSplitter) endLine(body []byte, end int) error {
	text := bytes.TrimSpace(body[s.start:end])
	switch {
	case len(text) == 0:
		return nil
	case len(text) > s.maxEventBytes:
		return s.tooLarge()
	case len(s.spans) == s.maxEvents:
		return tooManyEventsError(s.maxEvents)
	}
	from := s.start + bytes.Index(body[s.start:end], text)
	s.spans = append(s.spans, eventSpan{from, from + len(text)})
	return nil
}

// finish handles the end of the body.
func (s *eventSplitter) finish(body []byte) error {
	if s.lines {
		if s.start < 0 {
			s.start = 0
		}
		if err := s.endLine(body, len(body)); err != nil {
			return err
		}
	} else if s.start >= 0 || s.array && !s.closed {
		return fmt.Errorf("the body ends early, at byte %d", len(body))
	}
	if len(s.spans) == 0 && !s.array {
		return fmt.Errorf("the body is empty")
	}
	return nil
}

func (s *eventSplitter) tooLarge() error {
	return httpapi.Errorf(http.StatusRequestEntityTooLarge, "event %d is larger than %d bytes", len(s.spans), s.maxEventBytes)
}

func tooManyEventsError(n int) error {
	return httpapi.Errorf(http.StatusRequestEntityTooLarge, "more than %d events in a request", n)
}
