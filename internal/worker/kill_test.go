package worker_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/testenv"
	"github.com/picket-edr/picket/internal/worker"
)

// TestKill kills workers while they save: in the end each event is stored once.
func TestKill(t *testing.T) {
	t.Parallel()
	const dirEnv, batches = "PICKET_WORKER_DIR", 200
	if dir := os.Getenv(dirEnv); dir != "" {
		r := openFixture(t, dir)
		r.save = func(context.Context, []store.Batch) error {
			_, err := fmt.Println("\nsaving")
			return err
		}
		w := worker.New(r, func() worker.Detector { return new(detector) }, r,
			worker.Options{MaxMessages: 3, Logger: slog.New(slog.DiscardHandler), Linger: -1})
		testenv.Check(t, w.Run(t.Context()))
		return
	}
	dir := t.TempDir()
	r := openFixture(t, dir)
	for i := range batches {
		r.enqueue(t, batch(fmt.Sprintf("b%d", i), 20, "good", "evil"))
	}
	r.close(t)
	for kills := range 4 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
		cmd.Env = append(os.Environ(), dirEnv+"="+dir)
		out, err := cmd.StdoutPipe()
		testenv.Check(t, err)
		testenv.Check(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for saves := 0; saves < 3+kills && lines.Scan(); {
			if lines.Text() == "saving" {
				saves++
			}
		}
		testenv.Check(t, cmd.Process.Kill())
		if err := cmd.Wait(); err == nil {
			t.Fatal("the worker was not killed")
		}
	}
	r = openFixture(t, dir)
	s, err := r.Stats(t.Context())
	testenv.Check(t, err)
	if left := s.Pending + s.Leased; left == 0 || left == batches {
		t.Errorf("%d of %d batches are left, so nothing was tested", left, batches)
	} else {
		r.work(t, int(left), new(detector), worker.Options{})
	}
	r.want(t, batches*40, batches*20, 0)
	r.close(t)
	if leftover, _ := filepath.Glob(filepath.Join(dir, "*damaged*")); len(leftover) > 0 {
		t.Errorf("damage was reported: %q", leftover)
	}
}
