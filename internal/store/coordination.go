package store

import (
	"context"
	"time"
)

// Coordination is what servers and workers on several machines know of each other.
type Coordination interface {
	// PublishRules keeps the rules that workers are to run, in place of those
	// before.
	PublishRules(ctx context.Context, r PublishedRules) error
	// PublishedRules returns what was published last; picket.ErrNotFound where
	// nothing was. Where it is the version known, Bundle is nil.
	PublishedRules(ctx context.Context, known string) (PublishedRules, error)
	// ReportWorker says that a worker is there, and how it does.
	ReportWorker(ctx context.Context, w Worker) error
	// Workers lists the workers that reported since a time, by their IDs.
	Workers(ctx context.Context, since time.Time) ([]Worker, error)
}

// PublishedRules are the rule files of a server.
type PublishedRules struct {
	Version   string // of the bundle: another one, another version
	Bundle    []byte // made and read by package detect
	Published time.Time
}

// WorkerTimeout is how long after its last report a worker is taken for gone;
// they report three times as often.
const WorkerTimeout = 15 * time.Second

// A Worker is a process that works off the queue.
type Worker struct {
	ID            string    `json:"id"`
	Host          string    `json:"host"`
	Version       string    `json:"version"` // of picket
	RulesRevision string    `json:"rules"`   // the revision of the rules that it runs
	Concurrency   int       `json:"concurrency"`
	Started       time.Time `json:"started"`
	LastSeen      time.Time `json:"seen"`   // the last report, by the worker's clock
	Events        int64     `json:"events"` // stored since it started
}
