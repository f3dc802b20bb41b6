package store

import (
	"context"
	"time"
)

// Hosts knows the machines that events came from.
type Hosts interface {
	// Hosts lists hosts, newest LastSeen first. text selects those whose name
	// contains it, in any case; "" selects all.
	Hosts(ctx context.Context, text string, limit int, cursor string) (HostPage, error)
	// Host returns the host or picket.ErrNotFound.
	Host(ctx context.Context, key HostKey) (Host, error)
	// CountHosts counts all hosts, and those seen since a time.
	CountHosts(ctx context.Context, since time.Time) (total, online int64, err error)
}

// A HostKey identifies a host. Machines of different agents may have the same name.
type HostKey struct{ AgentID, Name string }

// HostKeySeparator separates the name and the agent of a host where both are one text:
// the names of events cannot contain it.
const HostKeySeparator = "\x1f"

// A Host is a machine that events came from.
type Host struct {
	Name      string    `json:"name"`
	AgentID   string    `json:"agent_id"`
	OS        string    `json:"os"` // "windows", "linux", "macos" or ""
	FirstSeen time.Time `json:"first_seen"`
	LastSeen  time.Time `json:"last_seen"` // by receipt
	Events    int64     `json:"events"`
	Alerts    int64     `json:"alerts"` // not closed
}

// Key returns the host's key.
func (h *Host) Key() HostKey { return HostKey{h.AgentID, h.Name} }

// A HostPage is one page of hosts.
type HostPage struct {
	Hosts []Host
	Next  string
}
