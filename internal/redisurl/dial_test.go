//go:build unix

package redisurl_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
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
	testenv.Check(t, err)
	defer l.Close()
	p, err := redisurl.Parse("redis://" + l.Addr().String())
	testenv.Check(t, err)
	client := p.NewClient()
	connected := make(chan error, 1)
	go func() { connected <- client.Ping(t.Context()).Err() }()
	conn, err := l.Accept()
	testenv.Check(t, err)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(testenv.Timeout))
	for r, name := bufio.NewReader(conn), ""; name != "ping"; {
		name = readCommand(t, r)
		reply := "+OK\r\n"
		if name == "hello" {
			reply = "-ERR unknown command\r\n"
		}
		_, err := io.WriteString(conn, reply)
		testenv.Check(t, err)
	}
	testenv.Check(t, <-connected)

	// The server reads nothing, so that most of the command stays unsent.
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := client.Set(ctx, "key", strings.Repeat("x", 32<<20), 0).Err(); err == nil {
		t.Fatal("the client did not give up")
	}
	testenv.Check(t, client.Close())
	if _, err := io.Copy(io.Discard, conn); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("reading on: error %v, want connection reset", err)
	}
}

// readCommand reads a command and returns its name.
func readCommand(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	var args int
	_, err := fmt.Fscanf(r, "*%d\r\n", &args)
	testenv.Check(t, err)
	name := ""
	for i := range args {
		var size int
		_, err := fmt.Fscanf(r, "$%d\r\n", &size)
		testenv.Check(t, err)
		arg := make([]byte, size+len("\r\n"))
		_, err = io.ReadFull(r, arg)
		testenv.Check(t, err)
		if i == 0 {
			name = string(arg[:size])
		}
	}
	return name
}
