package test

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

// BenchmarkCelery processes the same b.N tasks of a stock Celery producer twice:
//
//   - prefork: a stock Celery worker of the newest version with default settings,
//     one process per core, and a result backend. Its task checks the event's
//     fields and searches the command line for a word. The legacy system's task
//     also writes the event and the agent to MongoDB, reads the event back and runs
//     its rules.
//   - picket: one picket worker with its built-in rules, which stores the events,
//     evaluates the rules and writes the same results.
//
// Time is measured from when the tasks appear in the queue of a waiting worker
// until the last result is stored. ratio is picket's rate divided by prefork's.
//
//	go test -run '^$' -bench Celery -benchtime 20000x .
func BenchmarkCelery(b *testing.B) {
	f := newCeleryFixture(b, "new")
	py := f.shell(b)
	ctx := b.Context()
	do := func(args ...any) {
		b.Helper()
		if err := f.client.Do(ctx, args...).Err(); err != nil {
			b.Fatal(err)
		}
	}
	py.eval(b, `(ingest_many(%d, "e"), None)[1]`, b.N)
	do("rename", "celery", "saved")
	drain := func(worker *process) (rate float64) {
		b.Helper()
		py.nodes(b, 1)
		do("copy", "saved", "moving")
		// Counting results is expensive, so wait until there are enough keys.
		began := time.Now()
		do("rename", "moving", "celery")
		var took time.Duration
		for f.client.DBSize(ctx).Val() < int64(b.N) || f.results(b) < b.N {
			if took = time.Since(began); took > 10*time.Minute {
				b.Fatalf("after %s there are %d keys; the worker printed:\n%s", took, f.client.DBSize(ctx).Val(), worker.output.String())
			}
			time.Sleep(2 * time.Millisecond)
		}
		took = time.Since(began)
		if got := py.eval(b, `sum(json.loads(raw)["status"] == "SUCCESS" for raw in server.mget(list(server.scan_iter("celery-task-meta-*", 1000))))`); got != fmt.Sprint(b.N) {
			b.Fatalf("%s of %d tasks succeeded", got, b.N)
		}
		py.eval(b, `server.delete(*server.scan_iter("celery-task-meta-*", 1000))`)
		return float64(b.N) / took.Seconds()
	}

	worker := f.pythonWorker(b, "python", "--pool", "prefork", "--concurrency", fmt.Sprint(runtime.NumCPU()))
	prefork := drain(worker)
	worker.kill()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(prefork, "prefork-tasks/s")
	if *consumer == "python" {
		return
	}
	picket := drain(f.picketWorker(b))
	b.ReportMetric(picket, "picket-tasks/s")
	b.ReportMetric(picket/prefork, "ratio")
}
