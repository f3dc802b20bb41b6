// Package nettest is a bad network for tests: a proxy in front of a server that
// partitions, slows down and cuts connections, as the world does.
package nettest

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// A Proxy forwards connections to a server.
type Proxy struct {
	Addr string // host:port

	server string
	l      net.Listener
	mu     sync.Mutex
	open   *sync.Cond
	apart  bool          // nothing gets through, and nobody is told
	delay  time.Duration // of every piece
	conns  map[net.Conn]bool
}

// NewProxy starts a proxy in front of a server, until the test ends.
func NewProxy(t testing.TB, server string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: l.Addr().String(), server: server, l: l, conns: make(map[net.Conn]bool)}
	p.open = sync.NewCond(&p.mu)
	go p.serve()
	t.Cleanup(func() {
		l.Close()
		p.Heal()
		p.Cut()
	})
	return p
}

func (p *Proxy) serve() {
	for {
		c, err := p.l.Accept()
		if err != nil {
			return
		}
		go p.forward(c)
	}
}

func (p *Proxy) forward(client net.Conn) {
	p.keep(client)
	defer p.drop(client)
	p.pass()
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		return
	}
	p.keep(server)
	defer p.drop(server)
	done := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		go func() {
			p.copy(way[1], way[0])
			done <- struct{}{}
		}()
	}
	<-done // one side's end is the other's
}

func (p *Proxy) copy(dst, src net.Conn) {
	piece := make([]byte, 32<<10)
	for {
		n, err := src.Read(piece)
		if n > 0 {
			p.pass()
			if _, err := dst.Write(piece[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if err == io.EOF {
				p.pass()
			}
			return
		}
	}
}

// pass waits until the network lets something through.
func (p *Proxy) pass() {
	p.mu.Lock()
	for p.apart {
		p.open.Wait()
	}
	delay := p.delay
	p.mu.Unlock()
	time.Sleep(delay)
}

func (p *Proxy) keep(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = true
}

func (p *Proxy) drop(c net.Conn) {
	c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// Part lets nothing through from now on. Connections stay, as in a partition:
// neither side hears of it.
func (p *Proxy) Part() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.apart = true
}

// Heal lets through what has waited, at full speed.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.apart, p.delay = false, 0
	p.open.Broadcast()
}

// Slow delays each piece that goes through.
func (p *Proxy) Slow(by time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = by
}

// Cut breaks all connections that there are.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}
