//go:build unix

package redisurl_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/redisurl"
	"github.com/picket-edr/picket/internal/testenv"
)

// Data that was not sent when the client gave up is not sent later.
func TestUnsentDataIsDiscarded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p, err := redisurl.Parse("redis://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	client := p.Connect()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	gaveUp := make(chan error, 1)
	go func() {
		gaveUp <- client.Set(ctx, "key", strings.Repeat("x", 32<<20), 0).Err()
		client.Close()
	}()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The driver begins with HELLO and other commands, which need a reply.
	conn.SetDeadline(time.Now().Add(testenv.Timeout))
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte(strings.Repeat("+OK\r\n", strings.Count(string(buf[:n]), "*")))); err != nil {
		t.Fatal(err)
	}
	if err := <-gaveUp; err == nil {
		t.Fatal("the client did not give up")
	}
	if _, err := io.Copy(io.Discard, conn); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("reading on: error %v, want connection reset", err)
	}
}
