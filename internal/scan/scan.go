// Package scan runs rules over files of events, for `picket scan` and the
// benchmarks: the same shapes and the same engine as the server, without a
// queue or a store.
//
// Promise: memory stays flat whatever the size of the files, all cores work,
// and results come in the order of the events.
package scan

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/detect"
)

// A Hit is one rule on one event of a file.
type Hit struct {
	picket.Match
	File   string
	Record int // of the event in its file, from 1
	Raw    []byte
}

// Progress counts while a scan runs. It is safe for concurrent use.
type Progress struct {
	Bytes, Total atomic.Int64 // of the files as they are on disk, read and in all
	Events, Bad  atomic.Int64 // Bad can't be read as events
}

// A job is a run of events of one file.
type job struct {
	file   string
	first  int // the record number of events[0]
	events []picket.Event
	done   chan []Hit
}

// jobEvents and jobBytes bound a job.
const (
	jobEvents = 256
	jobBytes  = 1 << 20
)

// Files scans files and directories, calling hit for each match in order, and
// problem for what can't be read, which does not end the scan. It returns an
// error only when ctx ends or hit fails.
func Files(ctx context.Context, e *detect.Engine, paths []string, p *Progress, hit func(Hit) error, problem func(error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	workers := runtime.GOMAXPROCS(0)
	jobs, order := make(chan *job, workers), make(chan *job, 4*workers)

	var wg sync.WaitGroup
	for range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			d := e.Detector()
			for j := range jobs {
				j.done <- run(d, j, p)
			}
		}()
	}
	go func() {
		defer close(order)
		defer close(jobs)
		for _, f := range list(paths, p, problem) {
			r := &filler{ctx: ctx, file: f.name, jobs: jobs, order: order, progress: p}
			if err := f.read(p, r.add, func(err error) { p.Bad.Add(1); problem(err) }); err != nil && ctx.Err() == nil {
				problem(fmt.Errorf("read %s: %w", f.name, err))
			}
			if r.flush() != nil {
				return
			}
		}
	}()
	var failed error
	for j := range order {
		for _, h := range <-j.done {
			if failed == nil {
				if failed = hit(h); failed != nil {
					cancel()
				}
			}
		}
	}
	wg.Wait()
	return errors.Join(failed, context.Cause(ctx))
}

// run detects on a job. An event that is no JSON object is bad, and the rest
// go on without it.
func run(d *detect.Detector, j *job, p *Progress) []Hit {
	matches, err := d.Detect(j.events)
	if err != nil {
		matches = nil
		for i := range j.events {
			one, err := d.Detect(j.events[i : i+1])
			if err != nil {
				p.Bad.Add(1)
			}
			matches = append(matches, one...)
		}
	}
	p.Events.Add(int64(len(j.events)))
	hits := make([]Hit, len(matches))
	at := 0
	for i, m := range matches {
		for j.events[at].ID != m.EventID {
			at++
		}
		hits[i] = Hit{Match: m, File: j.file, Record: j.first + at, Raw: j.events[at].Raw}
	}
	return hits
}

// A filler gathers events into jobs.
type filler struct {
	ctx         context.Context
	file        string
	jobs, order chan *job
	progress    *Progress
	n, bytes    int
	job         *job
}

// add takes one event, whose bytes it keeps.
func (f *filler) add(raw []byte) error {
	f.n++
	if f.job == nil {
		f.job = &job{file: f.file, first: f.n, events: make([]picket.Event, 0, jobEvents), done: make(chan []Hit, 1)}
	}
	f.job.events = append(f.job.events, picket.Event{ID: fmt.Sprintf("%s#%d", f.file, f.n), Raw: raw})
	if f.bytes += len(raw); len(f.job.events) == jobEvents || f.bytes >= jobBytes {
		return f.flush()
	}
	return nil
}

func (f *filler) flush() error {
	if f.job == nil {
		return f.ctx.Err()
	}
	j := f.job
	f.job, f.bytes = nil, 0
	select {
	case f.order <- j:
	case <-f.ctx.Done():
		return f.ctx.Err()
	}
	f.jobs <- j // workers take from it until it is closed
	return nil
}
