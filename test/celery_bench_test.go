package test

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

// BenchmarkCelery works off the same b.N tasks of a stock Celery producer twice:
//
//   - prefork: a stock Celery worker, newest version, prefork pool with a process
//     a core, its other settings as they come, results written. Its task checks
//     the event's fields, looks for a word in the command line and returns; the
//     replaced system's writes the event and the agent to MongoDB as well, reads
//     the event back and runs its rules, all of which is left out here.
//   - picket: one picket worker with its builtin rules, which stores the events,
//     runs the rules over them and writes the same results.
//
// The clock runs from when the tasks appear in the queue, workers waiting for
// them, until the last result is there. ratio is picket's rate over prefork's.
//
//	go test -run '^$' -bench Celery -benchtime 20000x .
func BenchmarkCelery(b *testing.B) {
	r := newCeleryFixture(b, "new")
	py := r.shell(b)
	ctx := b.Context()
	do := func(args ...any) {
		b.Helper()
		if err := r.client.Do(ctx, args...).Err(); err != nil {
			b.Fatal(err)
		}
	}
	py.eval(b, `(ingest_many(%d, "e"), None)[1]`, b.N)
	do("rename", "celery", "saved")
	drain := func(worker *process) (rate float64) {
		b.Helper()
		py.nodes(b, 1)
		do("copy", "saved", "moving")
		// Looking for the results is dear: first there must be enough keys.
		began := time.Now()
		do("rename", "moving", "celery")
		var took time.Duration
		for r.client.DBSize(ctx).Val() < int64(b.N) || r.results(b) < b.N {
			if took = time.Since(began); took > 10*time.Minute {
				b.Fatalf("after %s there are %d keys; the worker said:\n%s", took, r.client.DBSize(ctx).Val(), worker.output.String())
			}
			time.Sleep(2 * time.Millisecond)
		}
		took = time.Since(began)
		if got := py.eval(b, `sum(json.loads(raw)["status"] == "SUCCESS" for raw in server.mget(list(server.scan_iter("celery-task-meta-*", 1000))))`); got != fmt.Sprint(b.N) {
			b.Fatalf("of %d tasks %s succeeded", b.N, got)
		}
		py.eval(b, `server.delete(*server.scan_iter("celery-task-meta-*", 1000))`)
		return float64(b.N) / took.Seconds()
	}

	worker := r.pythonWorker(b, "python", "--pool", "prefork", "--concurrency", fmt.Sprint(runtime.NumCPU()))
	prefork := drain(worker)
	worker.kill()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(prefork, "prefork-tasks/s")
	if *consumer == "python" {
		return
	}
	picket := drain(r.picketWorker(b))
	b.ReportMetric(picket, "picket-tasks/s")
	b.ReportMetric(picket/prefork, "ratio")
}
