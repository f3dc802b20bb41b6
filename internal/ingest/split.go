package ingest

import (
	"bytes"
	"fmt"
	"net/http"

	"github.com/picket-edr/picket/internal/httpapi"
)

// An eventSpan is the position of one event in a body.
type eventSpan struct {
	start, end int
	size       int // of the event; of one that is too large, only the start is in the body
}

// maxKeptOversizeBytes is how much is kept of an event that is too large.
const maxKeptOversizeBytes = 16 << 10

// An eventSplitter finds the events in a body while it is being read, so that a body
// past a limit is rejected early, and that of an event past the limit only the start is
// in memory. It only balances brackets; whether a span is valid JSON is checked later.
type eventSplitter struct {
	maxEventBytes, maxEvents int
	lines                    bool // each line is an event (NDJSON); else objects, or one array of values

	spans   []eventSpan
	at      int // how far the body has been scanned
	start   int // of the event being scanned, -1 between events
	cut     int // bytes of the event being scanned that were removed from the body
	removed int // bytes that were removed from the body in all
	space   int // bytes of white space since the last event

	array, closed, comma bool // the body is an array; it has ended; a comma is due
	depth                int
	inString, escaped    bool
}

var errNotObjectOrArray = fmt.Errorf("expected an object or an array")

// scanAndCut scans the new part of a growing body. It returns the body without what it
// removed from its end.
func (s *eventSplitter) scanAndCut(body []byte) (kept []byte, err error) {
	scan := s.scanValues
	if s.lines {
		scan = s.scanLines
	}
	if err := scan(body); err != nil {
		return nil, err
	}
	if s.start < 0 || s.at-s.start+s.cut <= s.maxEventBytes {
		return body, nil
	}
	if s.cut == 0 && len(bytes.TrimSpace(body[s.start:])) == 0 {
		return nil, s.tooMuchSpaceError()
	}
	end := s.keptEnd(s.start, len(body))
	n := len(body) - end
	s.cut, s.removed, s.at = s.cut+n, s.removed+n, end
	return body[:end], nil
}

// keptEnd returns where the kept start of an event ends that is too large.
func (s *eventSplitter) keptEnd(start, end int) int {
	return min(end, start+min(maxKeptOversizeBytes, s.maxEventBytes))
}

// addSpan adds the event that was scanned.
func (s *eventSplitter) addSpan(start, end int) {
	span := eventSpan{start, end, end - start + s.cut}
	if span.size > s.maxEventBytes {
		span.end = s.keptEnd(start, end)
	}
	s.spans = append(s.spans, span)
	s.cut = 0
}

// scanValues scans objects, or an array of values.
func (s *eventSplitter) scanValues(body []byte) error {
	for ; s.at < len(body); s.at++ {
		c := body[s.at]
		if s.start >= 0 {
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
				return s.tooMuchSpaceError()
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
		return fmt.Errorf("something after the end of the array at byte %d", s.at+s.removed)
	case c == '[' && !s.array && len(s.spans) == 0:
		s.array = true
	case c == ']' && s.array && (s.comma || len(s.spans) == 0):
		s.closed = true
	case c == ',' && s.array && s.comma:
		s.comma = false
	case s.array && s.comma:
		return fmt.Errorf("expected a comma or the end of the array at byte %d", s.at+s.removed)
	case s.array && (c == ',' || c == ']'):
		return fmt.Errorf("expected a value at byte %d", s.at+s.removed)
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
		return fmt.Errorf("%w at byte %d", errNotObjectOrArray, s.at+s.removed)
	}
	return nil
}

func (s *eventSplitter) endElement(end int) {
	s.addSpan(s.start, end)
	s.start, s.comma = -1, true
}

func (s *eventSplitter) scanLines(body []byte) error {
	if s.start < 0 {
		s.start = 0
	}
	for {
		i := bytes.IndexByte(body[s.at:], '\n')
		if i < 0 {
			s.at = len(body)
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
	case len(text) == 0 && s.cut == 0:
		return nil
	case len(s.spans) == s.maxEvents:
		return tooManyEventsError(s.maxEvents)
	}
	if s.cut > 0 {
		s.addSpan(s.start, end)
		return nil
	}
	from := s.start + bytes.Index(body[s.start:end], text)
	s.addSpan(from, from+len(text))
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
		return fmt.Errorf("the body ends early, at byte %d", len(body)+s.removed)
	}
	if len(s.spans) == 0 && !s.array {
		return fmt.Errorf("the body is empty")
	}
	return nil
}

func (s *eventSplitter) tooMuchSpaceError() error {
	return httpapi.Errorf(http.StatusRequestEntityTooLarge, "more than %d bytes of white space before event %d", s.maxEventBytes, len(s.spans))
}

func tooManyEventsError(maxEvents int) error {
	return httpapi.Errorf(http.StatusRequestEntityTooLarge, "more than %d events in a request", maxEvents)
}
