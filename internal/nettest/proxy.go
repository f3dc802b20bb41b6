// Package nettest simulates network failures for tests: with a proxy that
// partitions, delays or closes connections, and with hosts of their own on a
// bridge.
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

	server      string
	l           net.Listener
	mu          sync.Mutex
	healed      *sync.Cond
	partitioned bool          // no data passes, and connections stay open
	delay       time.Duration // of each chunk
	conns       map[net.Conn]bool
}

// NewProxy starts a proxy in front of a server. It ends with the test.
func NewProxy(t testing.TB, server string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: l.Addr().String(), server: server, l: l, conns: make(map[net.Conn]bool)}
	p.healed = sync.NewCond(&p.mu)
	go p.serve()
	t.Cleanup(func() {
		l.Close()
		p.Heal()
		p.CloseConns()
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
	p.track(client)
	defer p.closeAndUntrack(client)
	p.waitPartitionAndDelay()
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		return
	}
	p.track(server)
	defer p.closeAndUntrack(server)
	done := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		go func() {
			p.copy(way[1], way[0])
			done <- struct{}{}
		}()
	}
	<-done // when one side closes, so does the other
}

func (p *Proxy) copy(dst, src net.Conn) {
	chunk := make([]byte, 32<<10)
	for {
		n, err := src.Read(chunk)
		if n > 0 {
			p.waitPartitionAndDelay()
			if _, err := dst.Write(chunk[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if err == io.EOF {
				p.waitPartitionAndDelay()
			}
			return
		}
	}
}

// waitPartitionAndDelay waits while the network is partitioned, then for the delay.
func (p *Proxy) waitPartitionAndDelay() {
	p.mu.Lock()
	for p.partitioned {
		p.healed.Wait()
	}
	delay := p.delay
	p.mu.Unlock()
	time.Sleep(delay)
}

func (p *Proxy) track(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = true
}

func (p *Proxy) closeAndUntrack(c net.Conn) {
	c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// Partition stops all data. Connections stay open, so neither side notices.
func (p *Proxy) Partition() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.partitioned = true
}

// Heal ends the partition and the delay. Data that was held back passes.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.partitioned, p.delay = false, 0
	p.healed.Broadcast()
}

// Delay delays each chunk of data.
func (p *Proxy) Delay(by time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = by
}

// CloseConns closes all connections.
func (p *Proxy) CloseConns() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}
