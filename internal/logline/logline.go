// Package logline makes events of the lines of text logs, such as those of syslog and
// auditd. Package normalize recognises the format of their text.
package logline

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"
)

// MaxBytes bounds a line. Of a longer one, an event has the start.
const MaxBytes = 64 << 10

// A Line is a line of a log, and what is known of it.
type Line struct {
	Text      []byte // without the end of the line
	Truncated bool   // Text is the start of a longer line
	EventID   string // "" if it has none
	Path      string // of the log, "" if it is not to be in the event
	Host, OS  string // that wrote the log, "" if they are not known
	// Modified is when the log was written last. It tells the year of a line that has a
	// date without a year.
	Modified time.Time
}

// An event is the event of a line, as JSON.
type event struct {
	EventID   string `json:"event_id,omitempty"`
	EventType string `json:"event_type"`
	Time      string `json:"@timestamp,omitempty"`
	Host      *host  `json:"host,omitempty"`
	Path      string `json:"log_path,omitempty"`
	Truncated bool   `json:"truncated,omitempty"`
	Message   string `json:"message"`
}

type host struct {
	Hostname string `json:"hostname"`
	OS       string `json:"os,omitempty"`
}

// EventType is the type of the events.
const EventType = "log"

// Event returns the event of a line as JSON. Its time is that at the start of the line, if
// there is one; it is local if it has no zone.
func (l *Line) Event() ([]byte, error) {
	e := event{EventID: l.EventID, EventType: EventType, Path: l.Path, Truncated: l.Truncated, Message: strings.ToValidUTF8(string(l.Text), "\ufffd")}
	if l.Host != "" {
		e.Host = &host{l.Host, l.OS}
	}
	if t, ok := startTime(l.Text, l.Modified); ok {
		e.Time = t.UTC().Format(time.RFC3339Nano)
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(&e); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// maxTimeBytes bounds a time.
const maxTimeBytes = len("2006-01-02T15:04:05.999999999-07:00")

// startTime parses the time at the start of a line: RFC 3339, the same with a space or
// without a zone, or Jan _2 15:04:05. <PRI> may precede it.
func startTime(text []byte, modified time.Time) (t time.Time, ok bool) {
	s := string(text[:min(len(text), len("<191>")+maxTimeBytes)])
	if strings.HasPrefix(s, "<") {
		if _, after, ok := strings.Cut(s, ">"); ok {
			s = after
		}
	}
	if word, _, _ := strings.Cut(s, " "); len(word) > len(time.DateOnly) {
		if t, err := time.Parse(time.RFC3339, word); err == nil {
			return t, true
		}
	}
	if len(s) >= len(time.DateTime) {
		for _, layout := range []string{time.DateTime, "2006-01-02T15:04:05"} {
			if t, err := time.ParseInLocation(layout, s[:len(layout)], time.Local); err == nil {
				return t, true
			}
		}
	}
	if len(s) < len(time.Stamp) {
		return time.Time{}, false
	}
	// With the year, so that the 29th of February is one.
	stamp := s[:len(time.Stamp)]
	for year := modified.Year(); year >= modified.Year()-4; year-- {
		t, err := time.ParseInLocation("2006 "+time.Stamp, time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC).Format("2006 ")+stamp, time.Local)
		if err == nil && !t.After(modified.Add(24*time.Hour)) {
			return t, true
		}
	}
	return time.Time{}, false
}
