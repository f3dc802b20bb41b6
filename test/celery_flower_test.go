package test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/picket-edr/picket/internal/testenv"
)

// Flower shows workers, tasks and queue lengths, and its buttons work.
func TestCeleryFlower(t *testing.T) {
	t.Parallel()
	f := newCeleryFixture(t, "new")
	ctx := browser(t)
	py := f.shell(t)
	worker, node := f.worker(t, py)
	url := f.flower(t)

	run := func(what string, actions ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		step, cancel := context.WithTimeout(ctx, testenv.Timeout)
		defer cancel()
		if err := chromedp.Do(step, actions...); err != nil {
			body, _ := chromedp.Run(ctx, chromedp.Text("body"))
			t.Fatalf("%s: %v; the page is\n%s", what, err, body)
		}
	}
	text := func(selector string) string {
		t.Helper()
		s, err := chromedp.Run(ctx, chromedp.Text(selector))
		if err != nil {
			t.Fatalf("read %s: %v", selector, err)
		}
		return strings.TrimSpace(s)
	}
	// shows reloads a page until an element has a text.
	shows := func(path, selector, want string) {
		t.Helper()
		var got string
		for deadline := time.Now().Add(testenv.Timeout); !strings.Contains(got, want); {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %s does not show %q but\n%s", path, selector, want, got)
			}
			run(path, chromedp.Navigate(url+path), chromedp.WaitVisible(selector))
			got = text(selector)
		}
	}
	shot := func(name string) {
		if *screenshots == "" {
			return
		}
		png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
		if err == nil {
			err = os.WriteFile(filepath.Join(*screenshots, "flower-"+name+".png"), png, 0o644)
		}
		if err != nil {
			t.Fatalf("screenshot of %s: %v", name, err)
		}
	}
	wants := func(page, selector string, wanted ...string) {
		t.Helper()
		body := text(selector)
		for _, w := range wanted {
			if !strings.Contains(body, w) {
				t.Errorf("%s: no %q in\n%s", page, w, body)
			}
		}
	}

	// Flower counts the events that it receives once it has enabled them.
	shows("/workers", "#workers-table tbody", "Online")
	testenv.Until(t, "events are enabled", func() bool {
		py.eval(t, `telemetry_ingest.delay(event("probe")).get(timeout=TIMEOUT)`)
		resp, err := http.Get(url + "/api/tasks?limit=1")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.ContentLength > 2
	})
	py.eval(t, `(ok := telemetry_ingest.delay(event("shown")), bad := telemetry_ingest.delay(3), later := telemetry_ingest.apply_async([event("later")], countdown=600), ok.get(timeout=TIMEOUT), bad.get(timeout=TIMEOUT, propagate=False))`)
	id := func(name string) (id string) {
		t.Helper()
		py.into(t, &id, "%s.id", name)
		return id
	}

	shows("/workers", "#workers-failed", "1")
	wants("workers", "#workers-online", "1")
	wants("workers", "#workers-table tbody", node, "Online")
	shot("workers")

	run("worker", chromedp.Navigate(url+"/worker/"+node), chromedp.WaitVisible("#tab-pool table"))
	wants("pool", "#tab-pool", "Max concurrency", "Worker PID", fmt.Sprint(worker.cmd.Process.Pid), "Prefetch Count")
	shot("worker")
	run("broker tab", chromedp.Click("#worker-tab-broker"), chromedp.WaitVisible("#tab-broker table"))
	_, port, _ := net.SplitHostPort(f.redis.Addr)
	wants("broker tab", "#tab-broker", "redis", port)
	run("queues tab", chromedp.Click("#worker-tab-queues"), chromedp.WaitVisible("#worker-queues td"))
	wants("queues tab", "#worker-queues", "celery", "Cancel")
	run("tasks tab", chromedp.Click("#worker-tab-tasks"), chromedp.WaitVisible("#tab-tasks table"))
	wants("tasks tab", "#tab-tasks", ingest, id("later")[:8])
	run("limits tab", chromedp.Click("#worker-tab-limits"), chromedp.WaitVisible("#limits-table td"))
	wants("limits tab", "#limits-table", ingest)
	for _, tab := range []string{"config", "system", "other"} {
		run(tab+" tab", chromedp.Click("#worker-tab-"+tab), chromedp.WaitVisible("#tab-"+tab))
	}

	shows("/tasks", "#tasks-table tbody", id("ok")[:8])
	wants("tasks", "#tasks-table tbody", ingest, "SUCCESS", "FAILURE", "RECEIVED", node)
	shot("tasks")
	run("task", chromedp.Navigate(url+"/task/"+id("ok")), chromedp.WaitVisible("#task-page"))
	wants("task", "#task-page", ingest, "SUCCESS", "'alerts_created': 0", "'event_id': 'shown'", node)
	shot("task")
	run("failed task", chromedp.Navigate(url+"/task/"+id("bad")), chromedp.WaitVisible("#task-page"))
	wants("failed task", "#task-page", ingest, "FAILURE", "ValueError(", "dict")

	run("revoke", chromedp.Navigate(url+"/task/"+id("later")), chromedp.WaitVisible("#task-revoke"), chromedp.Click("#task-revoke"), chromedp.WaitVisible("#task-revoke:disabled"))
	testenv.Until(t, "the task is revoked", func() bool {
		return strings.Contains(py.eval(t, `list(app.control.inspect().revoked().values())`), id("later"))
	})

	// The queue length counts tasks of all priorities.
	signal := func(s syscall.Signal) { testenv.Check(t, worker.cmd.Process.Signal(s)) }
	if *consumer == "python" { // the server gives a task to its BRPOP even while it is stopped
		py.eval(t, `app.control.cancel_consumer("celery", destination=[%q], reply=True, timeout=TIMEOUT)`, node)
	} else {
		signal(syscall.SIGSTOP)
	}
	py.eval(t, `(ingest_many(30, "low", priority=9), ingest_many(12, "default"))`)
	shows("/broker", "#main-content", "celery")
	shows("/broker", "#main-content tbody", "42")
	shot("broker")
	signal(syscall.SIGCONT)
	shows("/workers", "#workers-online", "1")

	run("shut down", chromedp.Navigate(url+"/worker/"+node), chromedp.WaitVisible("#worker-group"), chromedp.Click("#worker-group"),
		chromedp.WaitVisible("#worker-shutdown"), chromedp.Click("#worker-shutdown"))
	worker.waitForExit(t)
	shows("/workers", "#workers-online", "0")
	wants("workers", "#workers-table tbody", node, "Offline")
	shot("offline")
}

// flower starts Flower, waits until it responds, and returns its URL.
func (f *celeryFixture) flower(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	cmd := f.pythonCommand("-m", "celery", "-A", "app", "flower", "--address=127.0.0.1", fmt.Sprint("--port=", port))
	cmd.Env = append(cmd.Env, "FLOWER_UNAUTHENTICATED_API=1")
	startProcess(t, cmd)
	url := fmt.Sprintf("http://127.0.0.1:%d", port)
	testenv.Until(t, "Flower responds", func() bool {
		resp, err := http.Get(url + "/healthcheck")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return url
}
