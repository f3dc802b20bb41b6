package httpapi

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"sync"
)

// A ConnLimiter bounds the connections of a server, and the requests in progress,
// of which an HTTP/2 connection can have many. Past the first bound it closes the
// connection that has been idle longest or, if none is idle, the one whose request
// has taken longest; past the second, the one with the most requests. So neither
// idle clients nor slow ones can keep others out. It is safe for concurrent use.
type ConnLimiter struct {
	max int

	mu              sync.Mutex
	waiting, active *list.List // of net.Conn, the longest first
	at              map[net.Conn]listEntry
	requests        map[*activeRequests]struct{} // of connections with requests in progress
	inProgress      int                          // requests
	closed          int64
}

// activeRequests counts the requests in progress of a connection.
type activeRequests struct {
	conn  net.Conn
	count int
}

// A listEntry is the entry of a connection in one of the lists.
type listEntry struct {
	in *list.List
	e  *list.Element
}

// NewConnLimiter returns a limiter to max connections and max requests.
func NewConnLimiter(max int) *ConnLimiter {
	return &ConnLimiter{max: max, waiting: list.New(), active: list.New(), at: make(map[net.Conn]listEntry),
		requests: make(map[*activeRequests]struct{})}
}

// Install sets the hooks of srv and wraps its handler.
func (c *ConnLimiter) Install(srv *http.Server) {
	srv.ConnState = c.TrackState
	srv.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, activeRequestsKey{}, &activeRequests{conn: conn})
	}
	h := srv.Handler
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		of := r.Context().Value(activeRequestsKey{}).(*activeRequests)
		c.beginRequest(of)
		defer c.endRequest(of)
		h.ServeHTTP(w, r)
	})
}

type activeRequestsKey struct{}

// beginRequest counts a request, and makes room for it.
func (c *ConnLimiter) beginRequest(of *activeRequests) {
	c.mu.Lock()
	of.count++
	c.requests[of] = struct{}{}
	c.inProgress++
	var victim *activeRequests
	if c.inProgress > c.max {
		for r := range c.requests {
			if victim == nil || r.count > victim.count {
				victim = r
			}
		}
		if victim.count == 1 { // the bound on connections suffices
			victim = nil
		}
	}
	if victim != nil { // its handlers end soon, and are not counted any more
		c.inProgress -= victim.count
		delete(c.requests, victim)
		c.closed++
	}
	c.mu.Unlock()
	if victim != nil {
		victim.conn.Close()
	}
}

func (c *ConnLimiter) endRequest(of *activeRequests) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.requests[of]; !ok {
		return // the connection was closed
	}
	c.inProgress--
	if of.count--; of.count == 0 {
		delete(c.requests, of)
	}
}

// TrackState records a new state of a connection.
func (c *ConnLimiter) TrackState(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	var victim net.Conn
	switch state {
	case http.StateNew:
		c.moveTo(conn, c.waiting)
		if len(c.at) > c.max {
			victim = c.longestIdleOrActive(conn)
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

// longestIdleOrActive returns the connection to close for a new one: the one that has been
// idle longest, or else active longest; newest itself if there is no other.
func (c *ConnLimiter) longestIdleOrActive(newest net.Conn) net.Conn {
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
