package httpapi

import (
	"container/list"
	"net"
	"net/http"
	"sync"
)

// A ConnLimiter bounds the connections of a server. Past the bound it closes the
// connection that has been idle longest or, if none is idle, the one whose request
// has taken longest. So neither idle clients nor slow ones can keep others out.
// It is safe for concurrent use.
type ConnLimiter struct {
	max int

	mu              sync.Mutex
	waiting, active *list.List // of net.Conn, the longest first
	at              map[net.Conn]listEntry
	closed          int64
}

// A listEntry is the entry of a connection in one of the lists.
type listEntry struct {
	in *list.List
	e  *list.Element
}

// NewConnLimiter returns a limiter to max connections. Its State is for
// http.Server.ConnState.
func NewConnLimiter(max int) *ConnLimiter {
	return &ConnLimiter{max: max, waiting: list.New(), active: list.New(), at: make(map[net.Conn]listEntry)}
}

// State records a new state of a connection.
func (c *ConnLimiter) State(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	var victim net.Conn
	switch state {
	case http.StateNew:
		c.moveTo(conn, c.waiting)
		if len(c.at) > c.max {
			victim = c.connToEvict(conn)
			c.moveTo(victim, nil)
			c.closed++
		}
	case http.StateIdle:
		c.moveTo(conn, c.waiting)
	case http.StateActive:
		c.moveTo(conn, c.active)
	case http.StateClosed, http.StateHijacked:
		c.moveTo(conn, nil)
	}
	c.mu.Unlock()
	if victim != nil {
		victim.Close()
	}
}

// connToEvict returns the connection to close for a new one.
func (c *ConnLimiter) connToEvict(newest net.Conn) net.Conn {
	for _, l := range [...]*list.List{c.waiting, c.active} {
		if e := l.Front(); e != nil && e.Value != newest {
			return e.Value.(net.Conn)
		}
	}
	return newest
}

// moveTo moves conn to the end of a list or, if to is nil, removes it.
func (c *ConnLimiter) moveTo(conn net.Conn, to *list.List) {
	if p, ok := c.at[conn]; ok {
		p.in.Remove(p.e)
		delete(c.at, conn)
	}
	if to != nil {
		c.at[conn] = listEntry{to, to.PushBack(conn)}
	}
}

// Counts returns how many connections are open, and how many were closed to make
// room.
func (c *ConnLimiter) Counts() (open int, closed int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.at), c.closed
}
