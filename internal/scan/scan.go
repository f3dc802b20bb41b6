// Package scan runs rules over files of events, for `picket scan` and the
// benchmarks, and over stored ones: the same formats and the same engine as the
// server, without a queue.
//
// Promise: memory stays flat whatever the size of the files, all cores work,
// and results come in the order of the events; those of correlations when they
// are complete.
package scan

import (
	"context"
	"errors"
	"fmt"
	"runtime"
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

// A job is a run of events of one file, or something wrong between two.
type job struct {
	file   string
	first  int // the record number of events[0]
	events []picket.Event
	done   chan outcome
}

// An outcome is what came of a job.
type outcome struct {
	hits     []Hit
	problems []error
}

// jobEvents and jobBytes bound a job.
const (
	jobEvents = 256
	jobBytes  = 1 << 20
)

// Files scans files and directories, and standard input by the name "-". It
// calls hit for each match and problem for what can't be read, which does not
// end the scan, in the order of the events and one at a time. It returns an
// error only when ctx ends or hit fails.
func Files(ctx context.Context, e *detect.Engine, paths []string, p *Progress, hit func(Hit) error, problem func(error)) error {
	return scan(ctx, e, p, hit, problem, func(f *filler) error {
		for _, s := range list(paths, p, f.say) {
			if err := f.file(s); err != nil {
				return err
			}
		}
		return nil
	})
}

// Events scans the events that each gives to add, which keeps them. It calls
// hit as Files does, with no File and the number of the event as its Record,
// and returns the error of each, too.
func Events(ctx context.Context, e *detect.Engine, p *Progress, hit func(Hit) error, each func(add func(picket.Event) error) error) error {
	failed := error(nil) // set before the last job is seen
	err := scan(ctx, e, p, hit, func(err error) { failed = errors.Join(failed, err) }, func(f *filler) error {
		if err := each(f.event); err != nil && f.ctx.Err() == nil {
			f.flush()
			f.say(err)
		}
		return f.flush()
	})
	return errors.Join(err, failed)
}

// scan detects on what fill gives to a filler.
func scan(ctx context.Context, e *detect.Engine, p *Progress, hit func(Hit) error, problem func(error), fill func(*filler) error) error {
	scanning, cancel := context.WithCancel(ctx)
	defer cancel()
	workers := runtime.GOMAXPROCS(0)
	jobs, order := make(chan *job, workers), make(chan *job, 4*workers)

	for range workers {
		go func() {
			d := e.Detector()
			for j := range jobs {
				j.done <- run(d, j, p)
			}
		}()
	}
	go func() {
		defer close(order)
		defer close(jobs)
		// It fails only when nobody waits for more.
		_ = fill(&filler{ctx: scanning, jobs: jobs, order: order, progress: p})
	}()
	c := newCorrelator(e.Rules())
	for {
		select {
		case <-ctx.Done():
			return ctx.Err() // a file that does not answer is not waited for
		case j, ok := <-order:
			if !ok {
				return errors.Join(ctx.Err(), c.flush(hit))
			}
			o := <-j.done
			for _, err := range o.problems {
				problem(err)
			}
			for _, h := range o.hits {
				if err := c.hit(h, hit); err != nil {
					return err
				}
			}
		}
	}
}

// run detects on a job. An event that is no JSON object is bad, and the rest
// go on without it.
func run(d *detect.Detector, j *job, p *Progress) outcome {
	var o outcome
	matches, err := d.Detect(j.events)
	if err != nil {
		matches = nil
		for i := range j.events {
			one, err := d.Detect(j.events[i : i+1])
			if err != nil {
				p.Bad.Add(1)
				o.problems = append(o.problems, fmt.Errorf("read %s: record %d: %w", j.file, j.first+i, errors.Unwrap(err)))
			}
			matches = append(matches, one...)
		}
	}
	p.Events.Add(int64(len(j.events) - len(o.problems)))
	o.hits = make([]Hit, 0, len(matches))
	for at, ms := range picket.MatchesByEvent(j.events, matches) {
		for _, m := range ms {
			o.hits = append(o.hits, Hit{Match: m, File: j.file, Record: j.first + at, Raw: j.events[at].Raw})
		}
	}
	return o
}

// A filler gathers events into jobs.
type filler struct {
	ctx         context.Context
	jobs, order chan *job
	progress    *Progress

	name     string // of the file at hand
	n, bytes int    // events of the file so far; bytes of the job
	job      *job
}

// file reads one file. It fails only when ctx ends.
func (f *filler) file(s source) error {
	f.name, f.n = s.name, 0
	if err := s.read(f.ctx, f.progress, f.add, f.skip); err != nil && f.ctx.Err() == nil {
		f.flush()
		f.say(fmt.Errorf("read %s: %w", s.name, err))
	}
	return f.flush()
}

// add takes one event of a file, whose bytes it keeps.
func (f *filler) add(raw []byte) error {
	return f.event(picket.Event{ID: fmt.Sprintf("%s#%d", f.name, f.n+1), Raw: raw})
}

// event takes one event, which it keeps.
func (f *filler) event(ev picket.Event) error {
	f.n++
	if f.job == nil {
		f.job = &job{file: f.name, first: f.n, events: make([]picket.Event, 0, jobEvents), done: make(chan outcome, 1)}
	}
	f.job.events = append(f.job.events, ev)
	if f.bytes += len(ev.Raw); len(f.job.events) == jobEvents || f.bytes >= jobBytes {
		return f.flush()
	}
	return nil
}

// skip takes note of an event that can't be read. It has a number all the
// same, so that the numbers of lines are those that an editor shows.
func (f *filler) skip(err error) {
	f.flush()
	f.n++
	f.progress.Bad.Add(1)
	f.say(fmt.Errorf("read %s: record %d: %w", f.name, f.n, err))
}

// say puts a problem among the jobs, in its turn.
func (f *filler) say(err error) {
	j := &job{done: make(chan outcome, 1)}
	j.done <- outcome{problems: []error{err}}
	select {
	case f.order <- j:
	case <-f.ctx.Done():
	}
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
