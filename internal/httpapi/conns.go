package httpapi

import (
	"container/list"
	"net"
	"net/http"
	"sync"
)

// Conns bounds how many connections a server holds: past the bound, the one
// that has longest been waiting for a request is closed, so that idle and
// slow clients cannot keep others out. Connections with a request under way
// are left alone; those are bounded by the server's read deadline.
type Conns struct {
	max int

	mu      sync.Mutex
	waiting *list.List // of net.Conn, longest waiting first
	at      map[net.Conn]*list.Element
	active  map[net.Conn]bool
	closed  int64
}

// NewConns returns a bound of max connections. Its State goes into
// http.Server.ConnState.
func NewConns(max int) *Conns {
	return &Conns{max: max, waiting: list.New(), at: make(map[net.Conn]*list.Element), active: make(map[net.Conn]bool)}
}

// State follows a connection through its life.
func (c *Conns) State(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	var victim net.Conn
	switch state {
	case http.StateNew, http.StateIdle:
		delete(c.active, conn)
		if c.at[conn] == nil {
			c.at[conn] = c.waiting.PushBack(conn)
		}
		if len(c.at)+len(c.active) > c.max {
			victim = c.waiting.Front().Value.(net.Conn)
			c.drop(victim)
			c.closed++
		}
	case http.StateActive:
		c.drop(conn)
		c.active[conn] = true
	case http.StateClosed, http.StateHijacked:
		c.drop(conn)
		delete(c.active, conn)
	}
	c.mu.Unlock()
	if victim != nil {
		victim.Close()
	}
}

func (c *Conns) drop(conn net.Conn) {
	if e := c.at[conn]; e != nil {
		c.waiting.Remove(e)
		delete(c.at, conn)
	}
}

// Counts returns how many connections are open, and how many were closed for
// want of room.
func (c *Conns) Counts() (open int, closed int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.at) + len(c.active), c.closed
}
