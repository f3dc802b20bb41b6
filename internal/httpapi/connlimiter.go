package httpapi

import (
	"container/list"
	"net"
	"net/http"
	"sync"
)

// ConnLimiter bounds how many connections a server holds. Past the bound the one
// that has longest been waiting for a request is closed or, where none waits,
// the one whose request has been under way for longest: so neither idle
// clients nor those that send a byte now and then keep others out.
type ConnLimiter struct {
	max int

	mu              sync.Mutex
	waiting, active *list.List // of net.Conn, the longest so first
	at              map[net.Conn]listEntry
	closed          int64
}

// A listEntry is where a connection stands.
type listEntry struct {
	in *list.List
	e  *list.Element
}

// NewConnLimiter returns a bound of max connections. Its State goes into
// http.Server.ConnState.
func NewConnLimiter(max int) *ConnLimiter {
	return &ConnLimiter{max: max, waiting: list.New(), active: list.New(), at: make(map[net.Conn]listEntry)}
}

// State follows a connection through its life.
func (c *ConnLimiter) State(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	var victim net.Conn
	switch state {
	case http.StateNew:
		c.move(conn, c.waiting)
		if len(c.at) > c.max {
			victim = c.oldest(conn)
			c.move(victim, nil)
			c.closed++
		}
	case http.StateIdle:
		c.move(conn, c.waiting)
	case http.StateActive:
		c.move(conn, c.active)
	case http.StateClosed, http.StateHijacked:
		c.move(conn, nil)
	}
	c.mu.Unlock()
	if victim != nil {
		victim.Close()
	}
}

// oldest returns the connection to give up for one that is new.
func (c *ConnLimiter) oldest(newest net.Conn) net.Conn {
	for _, l := range [...]*list.List{c.waiting, c.active} {
		if e := l.Front(); e != nil && e.Value != newest {
			return e.Value.(net.Conn)
		}
	}
	return newest
}

// move puts conn at the end of a list, or forgets it.
func (c *ConnLimiter) move(conn net.Conn, to *list.List) {
	if p, ok := c.at[conn]; ok {
		p.in.Remove(p.e)
		delete(c.at, conn)
	}
	if to != nil {
		c.at[conn] = listEntry{to, to.PushBack(conn)}
	}
}

// Counts returns how many connections are open, and how many were closed for
// want of room.
func (c *ConnLimiter) Counts() (open int, closed int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.at), c.closed
}
