package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// One failed handshake a minute is logged, with how many there were besides.
func TestHandshakeLog(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1_800_000_000, 0)
	log := newHTTPErrorLog(slog.New(slog.NewTextHandler(&out, nil)), func() time.Time { return now })
	log.Print("http: TLS handshake error from 192.0.2.1:5: EOF")
	log.Print("http: something else")
	for range 2 {
		for range 3 {
			log.Print("http: TLS handshake error from 192.0.2.1:5: remote error: tls: bad certificate")
		}
		now = now.Add(time.Minute)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], `from=192.0.2.1:5 error="remote error: tls: bad certificate" further_in_the_minute_before=0`) ||
		!strings.HasSuffix(lines[1], "further_in_the_minute_before=2") {
		t.Errorf("log:\n%s", out.String())
	}
}
