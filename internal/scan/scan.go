// Package scan runs rules over events in files, for picket scan and the benchmarks,
// and over stored events, for picket rules retro. It reads the formats of the
// intake and uses the same engine, without a queue.
//
// Memory use is bounded whatever the size of the files, all cores are used, and
// matches are reported in the order of the events; those of correlations once they
// are complete.
package scan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/detect"
	"github.com/picket-edr/picket/internal/evtx"
)

// A LocatedMatch is a match and the position of its event.
type LocatedMatch struct {
	picket.Match
	File   string
	Record int // number of the event in its file, from 1
	// EventRecordID is the number that Windows gave to the event in its log, "" for
	// other events.
	EventRecordID string
	Raw           []byte
}

// Progress counts while a scan runs. It is safe for concurrent use.
type Progress struct {
	Bytes, Total       atomic.Int64 // bytes of the files on disk: read so far, and all
	Events, Unreadable atomic.Int64 // records that are events, and that are not
}

// A detectionJob is consecutive events of one file, or a problem at this point of the input.
type detectionJob struct {
	file   string
	first  int // number of the first record
	events []picket.Event
	chunk  evtx.Chunk // further events, not decoded yet
	done   chan detectionResult
}

// A detectionResult is the result of detection on a job.
type detectionResult struct {
	matches  []LocatedMatch
	problems []error
}

// maxJobEvents and maxJobBytes bound a job.
const (
	maxJobEvents = 256
	maxJobBytes  = 1 << 20
)

// Files scans files, directories and, as "-", standard input. In the order of the
// events and never concurrently, it calls onMatch for each match, and onProblem for each
// problem, after which the scan continues. It returns an error only if ctx ends or
// onMatch fails.
func Files(ctx context.Context, e *detect.Engine, paths []string, p *Progress, onMatch func(LocatedMatch) error, onProblem func(error)) error {
	return scan(ctx, e, p, onMatch, onProblem, func(f *producer) error {
		return readFiles(f.ctx, paths, p, f)
	})
}

// Events scans events, which it keeps. It calls onMatch as Files does, with no File
// and with the number of the event as its Record. It returns the errors of the
// sequence, too, the first of which ends it.
func Events(ctx context.Context, e *detect.Engine, p *Progress, onMatch func(LocatedMatch) error, events iter.Seq2[picket.Event, error]) error {
	var failed error // set before the last job is received
	err := scan(ctx, e, p, onMatch, func(err error) { failed = errors.Join(failed, err) }, func(f *producer) error {
		for ev, err := range events {
			if err != nil && f.ctx.Err() == nil {
				f.reportProblem(err)
			}
			if err != nil || f.addEvent(ev) != nil {
				break
			}
		}
		return f.flush()
	})
	return errors.Join(err, failed)
}

// scan runs detection on the events that produce adds to a producer.
func scan(ctx context.Context, e *detect.Engine, p *Progress, onMatch func(LocatedMatch) error, onProblem func(error), produce func(*producer) error) error {
	producing, cancel := context.WithCancel(ctx)
	defer cancel()
	workers := runtime.GOMAXPROCS(0)
	jobs, order := make(chan *detectionJob, workers), make(chan *detectionJob, 4*workers)

	for range workers {
		go func() {
			w := worker{detector: e.NewDetector(), progress: p}
			for j := range jobs {
				j.done <- w.run(j)
			}
		}()
	}
	go func() {
		defer close(order)
		defer close(jobs)
		// It fails only if the scan has ended.
		_ = produce(&producer{ctx: producing, jobs: jobs, order: order, progress: p})
	}()
	c := newCorrelator(e.Rules())
	for {
		select {
		case <-ctx.Done():
			return ctx.Err() // without waiting for a read that blocks
		case j, ok := <-order:
			if !ok {
				return errors.Join(ctx.Err(), c.flush(onMatch))
			}
			r := <-j.done
			for _, err := range r.problems {
				onProblem(err)
			}
			for _, m := range r.matches {
				if err := c.process(m, onMatch); err != nil {
					return err
				}
			}
		}
	}
}

// A worker runs detection on jobs.
type worker struct {
	detector *detect.Detector
	decoder  evtx.Decoder
	progress *Progress
}

// run runs detection on a job. A record that is not a JSON object, or that the decoder
// cannot read, is counted as unreadable, and the others are evaluated without it.
func (w *worker) run(j *detectionJob) detectionResult {
	var r detectionResult
	numbers := w.decode(j, &r)
	matches, err := w.detector.Detect(j.events)
	if err != nil {
		matches = nil
		for i := range j.events {
			one, err := w.detector.Detect(j.events[i : i+1])
			if err != nil {
				w.reportUnreadable(&r, j.file, numbers[i], errors.Unwrap(err))
				w.progress.Events.Add(-1)
			}
			matches = append(matches, one...)
		}
	}
	w.progress.Events.Add(int64(len(j.events)))
	r.matches = make([]LocatedMatch, 0, len(matches))
	for i, ms := range picket.MatchesByEvent(j.events, matches) {
		for _, m := range ms {
			r.matches = append(r.matches, LocatedMatch{Match: m, File: j.file, Record: numbers[i], EventRecordID: eventRecordID(&j.events[i]), Raw: j.events[i].Raw})
		}
	}
	return r
}

// decode makes the events of a job that has a chunk, and returns the number of the record
// of each event.
func (w *worker) decode(j *detectionJob, r *detectionResult) (numbers []int) {
	number := j.first
	for range j.events {
		numbers = append(numbers, number)
		number++
	}
	for rec, err := range w.decoder.Records(j.chunk) {
		if err != nil {
			w.reportUnreadable(r, j.file, number, err)
		} else {
			j.events, numbers = append(j.events, picket.Event{ID: recordEventID(j.file, number), Raw: bytes.Clone(rec.JSON)}), append(numbers, number)
		}
		number++
	}
	return numbers
}

func (w *worker) reportUnreadable(r *detectionResult, file string, number int, err error) {
	w.progress.Unreadable.Add(1)
	r.problems = append(r.problems, recordError(file, number, err))
}

func recordError(file string, number int, err error) error {
	return fmt.Errorf("read %s: record %d: %w", file, number, err)
}

// recordEventID returns the id of an event of a file.
func recordEventID(file string, number int) string { return file + "#" + strconv.Itoa(number) }

func eventRecordID(ev *picket.Event) string {
	for i := range ev.Fields {
		if f := &ev.Fields[i]; f.Name == "EventRecordID" {
			return strings.Clone(f.Value.Text)
		}
	}
	return ""
}

// A producer groups events into jobs.
type producer struct {
	ctx         context.Context
	jobs, order chan *detectionJob
	progress    *Progress

	file     string // the current file
	n, bytes int    // events of the file so far; bytes of the job
	job      *detectionJob
}

// beginFile says that the next events are those of a file.
func (p *producer) beginFile(name string) { p.file, p.n = name, 0 }

// addRawEvent adds an event of a file, and keeps its bytes.
func (p *producer) addRawEvent(raw []byte) error {
	return p.addEvent(picket.Event{ID: recordEventID(p.file, p.n+1), Raw: raw})
}

// addChunk adds the records of a chunk of an event log.
func (p *producer) addChunk(c evtx.Chunk) error {
	p.flush()
	p.job = &detectionJob{file: p.file, first: p.n + 1, chunk: c, done: make(chan detectionResult, 1)}
	p.n += c.NumRecords()
	return p.flush()
}

// addEvent adds an event, and keeps it.
func (p *producer) addEvent(ev picket.Event) error {
	p.n++
	if p.job == nil {
		p.job = &detectionJob{file: p.file, first: p.n, events: make([]picket.Event, 0, maxJobEvents), done: make(chan detectionResult, 1)}
	}
	p.job.events = append(p.job.events, ev)
	if p.bytes += len(ev.Raw); len(p.job.events) == maxJobEvents || p.bytes >= maxJobBytes {
		return p.flush()
	}
	return nil
}

// skipRecord reports an event that cannot be read. It is counted as a record, so that
// record numbers match line numbers.
func (p *producer) skipRecord(err error) {
	p.n++
	p.progress.Unreadable.Add(1)
	p.reportProblem(recordError(p.file, p.n, err))
}

// reportProblem adds a problem at this point of the input.
func (p *producer) reportProblem(err error) {
	p.flush()
	j := &detectionJob{done: make(chan detectionResult, 1)}
	j.done <- detectionResult{problems: []error{err}}
	select {
	case p.order <- j:
	case <-p.ctx.Done():
	}
}

func (p *producer) flush() error {
	if p.job == nil {
		return p.ctx.Err()
	}
	j := p.job
	p.job, p.bytes = nil, 0
	select {
	case p.order <- j:
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
	p.jobs <- j // workers take from it until it is closed
	return nil
}
