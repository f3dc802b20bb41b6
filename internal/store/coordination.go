package store

import (
	"context"
	"time"
)

// Coordination is what servers and workers on several machines share: the rules
// to run, which workers there are, and secrets.
type Coordination interface {
	// Secret returns SecretBytes random bytes: for a name, always the same.
	Secret(ctx context.Context, name string) ([]byte, error)
	// PublishRules replaces the rules that workers are to run.
	PublishRules(ctx context.Context, r PublishedRules) error
	// PublishedRules returns the rules that were published last, or
	// picket.ErrNotFound. If their version is knownVersion, Bundle is nil.
	PublishedRules(ctx context.Context, knownVersion string) (PublishedRules, error)
	// ReportWorker records a worker's heartbeat.
	ReportWorker(ctx context.Context, w Worker) error
	// Workers lists the workers that have reported since a time, by ID.
	Workers(ctx context.Context, since time.Time) ([]Worker, error)
}

// SecretBytes is the length of a secret.
const SecretBytes = 32

// EventIDSecret is the name of the secret from which the intake derives the ids of
// events that have none, so that only picket can predict them.
const EventIDSecret = "event-ids"

// PublishedRules are the rule files of a server.
type PublishedRules struct {
	Version   string // identifies the content of Bundle
	Bundle    []byte // opaque to stores
	Published time.Time
}

// WorkerTimeout is how long after its last report a worker is considered gone.
// Workers report three times as often.
const WorkerTimeout = 15 * time.Second

// A Worker is a process that works off the queue.
type Worker struct {
	ID            string    `json:"id"`
	Host          string    `json:"host"`
	Version       string    `json:"version"` // of picket
	RulesRevision string    `json:"rules"`   // of the rules that it runs
	Concurrency   int       `json:"concurrency"`
	Started       time.Time `json:"started"`
	LastSeen      time.Time `json:"seen"`   // its last report, by its own clock
	Events        int64     `json:"events"` // stored since it started
}
