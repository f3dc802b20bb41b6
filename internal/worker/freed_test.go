package worker_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"weak"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/detect"
	"github.com/picket-edr/picket/internal/testenv"
	"github.com/picket-edr/picket/internal/worker"
	"github.com/picket-edr/picket/sigma"
)

// A watchingDetector remembers where the batches are that it gets.
type watchingDetector struct {
	worker.Detector
	batches []weak.Pointer[byte]
}

func (d *watchingDetector) Detect(events []picket.Event) ([]picket.Match, error) {
	d.batches = append(d.batches, weak.Make(&events[0].Raw[0]))
	return d.Detector.Detect(events)
}

// Once batches are settled, neither the detector nor the store has anything of them in
// memory: one string would keep all of a batch.
func TestBatchesAreFreed(t *testing.T) {
	r := newFixture(t)
	parsed, err := sigma.Parse("r.yml", []byte("title: T\nid: x\nlevel: high\nlogsource: {category: process_creation}\ndetection: {s: {CommandLine|contains: whoami}, condition: s}\n"))
	testenv.Check(t, err)
	rules, errs := sigma.Compile(parsed, sigma.Options{})
	if len(errs) > 0 {
		t.Fatal(errs[0])
	}
	d := &watchingDetector{Detector: detect.NewEngine(rules, nil).NewDetector()}
	falco, err := os.ReadFile(filepath.Join("..", "normalize", "testdata", "falco.json"))
	testenv.Check(t, err)
	text := strings.Repeat(`{"what":"x","event_type":"process_creation","CommandLine":"whoami","a":[`+strings.Repeat("1,", 100)+`1]}`, 1)
	for i, raw := range []string{text, string(falco), `{"event_type":"y","message":"type=SYSCALL msg=audit(1700000000.123:456): a=b c=d"}`, text[:len(text)-1]} {
		b := batch(fmt.Sprint("b", i), 300, "good")
		for k := range b.Events {
			b.Events[k].Raw = []byte(raw)
			b.Events[k].Host, b.Events[k].AgentID = fmt.Sprint("host", i), fmt.Sprint("agent", i)
		}
		r.enqueue(t, b)
		r.work(t, 1, d, worker.Options{Concurrency: 1, MaxMemoryBytes: 1 << 20 >> (i % 2 * 8)})
	}
	if len(d.batches) < 4 {
		t.Fatalf("%d batches", len(d.batches))
	}
	for i, b := range d.batches {
		testenv.CheckFreed(t, fmt.Sprint("what Detect had in call ", i), b)
	}
	// Still in use, so that what they have is not freed with them.
	r.enqueue(t, batch("last", 1, "good"))
	r.work(t, 1, d, worker.Options{Concurrency: 1})
}
