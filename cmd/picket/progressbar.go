package main

import (
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/picket-edr/picket/internal/scan"
)

// A progressBar shows the progress of a scan if its writer is a terminal.
type progressBar struct {
	mu   sync.Mutex
	w    io.Writer
	on   bool
	p    *scan.Progress
	quit chan struct{}
	done sync.WaitGroup
}

func startProgressBar(w io.Writer, p *scan.Progress) *progressBar {
	b := &progressBar{w: w, p: p, quit: make(chan struct{})}
	f, ok := w.(*os.File)
	if b.on = ok && term.IsTerminal(int(f.Fd())); !b.on {
		return b
	}
	b.done.Add(1)
	go func() {
		defer b.done.Done()
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-b.quit:
				return
			case <-tick.C:
				b.mu.Lock()
				b.draw()
				b.mu.Unlock()
			}
		}
	}()
	return b
}

func (b *progressBar) draw() {
	const width = 30
	total := max(b.p.Total.Load(), 1)
	done := min(int(b.p.Bytes.Load()*width/total), width)
	fprintfPrintable(b.w, "\r\x1b[K[%s%s] %3d%%  %d events", strings.Repeat("#", done), strings.Repeat(" ", width-done),
		min(b.p.Bytes.Load()*100/total, 100), b.p.Events.Load())
}

// println prints a line above the bar.
func (b *progressBar) println(s string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.on {
		fprintfPrintable(b.w, "\r\x1b[K")
	}
	fprintfPrintable(b.w, "%s\n", s)
}

func (b *progressBar) stop() {
	if b.on {
		close(b.quit)
		b.done.Wait()
		fprintfPrintable(b.w, "\r\x1b[K")
	}
}
