package scan

import (
	"bytes"
	"context"
	"fmt"

	"github.com/picket-edr/picket/internal/evtx"
)

// ReadFiles calls onEvent with each event of files, directories and, as "-", standard
// input, in the order of the files. onEvent may keep the bytes. It calls onProblem for
// each problem, after which it goes on, and returns an error only if ctx ends or onEvent
// fails.
func ReadFiles(ctx context.Context, paths []string, p *Progress, onEvent func(file string, raw []byte) error, onProblem func(error)) error {
	c := &eventCallbacks{onEvent: onEvent, onProblem: onProblem}
	err := readFiles(ctx, paths, p, c)
	if c.failure != nil {
		return c.failure
	}
	return err
}

// ReadFile calls onEvent with each event of a file in order, and onSkipped with an error
// for each record that cannot be read. onEvent may keep the bytes.
func ReadFile(name string, onEvent func(raw []byte) error, onSkipped func(error)) error {
	c := &eventCallbacks{onEvent: func(_ string, raw []byte) error { return onEvent(raw) }, onSkipped: onSkipped}
	return newEventFile(name).read(context.Background(), new(Progress), c)
}

// eventCallbacks calls functions with the events of files.
type eventCallbacks struct {
	onEvent   func(file string, raw []byte) error
	onProblem func(error)
	onSkipped func(error) // of a record; nil: onProblem
	file      string
	n         int // records of the file so far
	decoder   evtx.Decoder
	failure   error // of onEvent
}

func (c *eventCallbacks) beginFile(name string)   { c.file, c.n = name, 0 }
func (c *eventCallbacks) reportProblem(err error) { c.onProblem(err) }
func (c *eventCallbacks) flush() error            { return c.failure }

func (c *eventCallbacks) skipRecord(err error) {
	if c.n++; c.onSkipped != nil {
		c.onSkipped(err)
		return
	}
	c.onProblem(recordError(c.file, c.n, err))
}

func (c *eventCallbacks) addRawEvent(raw []byte) error {
	c.n++
	if c.failure == nil {
		c.failure = c.onEvent(c.file, raw)
	}
	return c.failure
}

func (c *eventCallbacks) addChunk(chunk evtx.Chunk) error {
	for rec, err := range c.decoder.Records(chunk) {
		if err != nil {
			c.skipRecord(err)
		} else if err := c.addRawEvent(bytes.Clone(rec.JSON)); err != nil {
			return err
		}
	}
	return nil
}

// A filesSink takes the records of several files.
type filesSink interface {
	eventSink
	// beginFile says that the next records are those of a file.
	beginFile(name string)
	// reportProblem reports what is wrong with a file at this point of the input.
	reportProblem(error)
}

// A fileReader reads files into a sink.
type fileReader struct {
	ctx      context.Context
	progress *Progress
	to       filesSink
}

// readFiles reads the files under paths. It fails only if ctx ends or the sink fails.
func readFiles(ctx context.Context, paths []string, p *Progress, to filesSink) error {
	r := &fileReader{ctx, p, to}
	for _, s := range findEventFiles(paths, p, to.reportProblem) {
		var err error
		if s.isZip() {
			err = r.readZip(s)
		} else {
			err = r.readRecords(s.name, func() error { return s.read(ctx, p, to) })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readRecords calls read, which reads the records of a file, and reports its error as a
// problem.
func (r *fileReader) readRecords(file string, read func() error) error {
	r.to.beginFile(file)
	err := read()
	if failed := r.to.flush(); failed != nil {
		return failed
	}
	if err != nil && r.ctx.Err() == nil {
		r.to.reportProblem(fmt.Errorf("read %s: %w", file, err))
	}
	return r.ctx.Err()
}
