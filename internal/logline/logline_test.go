package logline_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/logline"
)

func TestTime(t *testing.T) {
	modified := time.Date(2026, 3, 1, 12, 0, 0, 0, time.Local)
	local := func(year int, month time.Month, day, hour, minute, second int) string {
		return time.Date(year, month, day, hour, minute, second, 0, time.Local).UTC().Format(time.RFC3339Nano)
	}
	for text, want := range map[string]string{
		"2026-01-02T03:04:05.123456+01:00 web-1 sshd[1]: x": "2026-01-02T02:04:05.123456Z",
		"2026-01-02T03:04:05Z x":                            "2026-01-02T03:04:05Z",
		"2026-01-02 03:04:05,123 INFO x":                    local(2026, 1, 2, 3, 4, 5),
		"Feb  3 04:05:06 web-1 sshd[1]: x":                  local(2026, 2, 3, 4, 5, 6),
		"<38>Feb  3 04:05:06 web-1 sshd[1]: x":              local(2026, 2, 3, 4, 5, 6),
		"Dec 31 23:59:59 web-1 sshd[1]: of the year before": local(2025, 12, 31, 23, 59, 59),
		"Feb 29 00:00:00 web-1 cron[1]: of a leap year":     local(2024, 2, 29, 0, 0, 0),
		"no time":           "",
		"":                  "",
		"Foo  3 04:05:06 x": "",
		"type=SYSCALL msg=audit(1700000000.123:456): arch=": "", // package normalize reads it
	} {
		line := logline.Line{Text: []byte(text), Modified: modified}
		raw, err := line.Event()
		var event map[string]any
		if err == nil {
			err = json.Unmarshal(raw, &event)
		}
		got, _ := event["@timestamp"].(string)
		if err != nil || got != want || event["message"] != text || event["event_type"] != "log" {
			t.Errorf("%q: %s, %v, want the time %q", text, raw, err, want)
		}
	}
}
