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
	Host(ctx context.Context, name string) (Host, error)
	// CountHosts counts all hosts, and those seen since a time.
	CountHosts(ctx context.Context, since time.Time) (total, online int64, err error)
}

// A Host is a machine that events came from.
type Host struct {
	Name      string    `json:"name"`
	AgentID   string    `json:"agent_id"` // the last that reported it
	OS        string    `json:"os"`       // "windows", "linux", "macos" or ""
	FirstSeen time.Time `json:"first_seen"`
	LastSeen  time.Time `json:"last_seen"` // by receipt
	Events    int64     `json:"events"`
	Alerts    int64     `json:"alerts"` // not closed
}

// A HostPage is one page of hosts.
type HostPage struct {
	Hosts []Host
	Next  string
}
