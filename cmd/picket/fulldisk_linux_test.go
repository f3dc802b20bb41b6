package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/picket-edr/picket/internal/testenv"
)

// mountSmallDisk mounts a disk of 64 MiB.
func mountSmallDisk(t *testing.T) (dir string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: needs root to mount a small disk")
	}
	dir = t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: mount: %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", "-l", dir).Run() })
	return dir
}

// A server whose disk is nearly full says so in /readyz, the metrics, the log, doctor and
// to senders, and goes on by itself when there is room again.
func TestNearlyFullDisk(t *testing.T) {
	t.Parallel()
	disk := mountSmallDisk(t)
	c := newTestCluster(t, "--min-free-disk", "16777216")
	c.data = disk
	testenv.Check(t, os.Chmod(disk, 0o700))
	c.startServer()
	token := c.createToken("--collector", "load")
	get := func(path string) (status int, body string) { return c.request(http.MethodGet, path, token, "") }
	post := func(path, body string) (status int, answer string) {
		return c.request(http.MethodPost, path, token, body)
	}
	doctor := func() string {
		cmd := exec.Command("picket", "doctor", "--data", c.data)
		out, _ := cmd.CombinedOutput()
		return string(out)
	}
	const event = `{"event_type":"x","host":"h"}`
	if status, body := post("/api/v1/telemetry/", event); status != http.StatusCreated {
		t.Fatal(status, body)
	}
	if status, body := get("/readyz"); status != http.StatusOK || !strings.Contains(body, `"disk":"ok"`) {
		t.Fatal(status, body)
	}
	filler := filepath.Join(disk, "filler")
	testenv.Check(t, os.WriteFile(filler, make([]byte, 52<<20), 0o600))
	testenv.Until(t, "/readyz says that the disk is nearly full", func() bool {
		status, body := get("/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(body, `"disk":"nearly full: `) && !strings.Contains(body, disk)
	})
	const told = "the server's disk is nearly full; keep the events and try again"
	for path, want := range map[string]int{"/api/v1/telemetry/": 503, "/_bulk": 429, "/api/v1/osquery/log": 503} {
		body := map[string]string{
			"/api/v1/telemetry/": event, "/_bulk": "{\"create\":{}}\n{}\n",
			"/api/v1/osquery/log": fmt.Sprintf(`{"node_key":%q,"log_type":"result","data":[{}]}`, token),
		}[path]
		if status, answer := post(path, body); status != want || !strings.Contains(answer, told) || strings.Contains(answer, disk) {
			t.Errorf("%s: %d %s", path, status, answer)
		}
	}
	if _, body := get("/metrics"); !strings.Contains(body, "picket_intake_refused_total{cause=\"disk_full\"} 3\n") ||
		!strings.Contains(body, "\npicket_disk_min_free_bytes 1.6777216e+07\n") || !strings.Contains(body, "\npicket_disk_free_bytes ") {
		t.Errorf("metrics: %s", body)
	}
	if out := doctor(); !strings.Contains(out, "FAIL  disk   ") || !strings.Contains(out, "telemetry is refused") {
		t.Errorf("doctor: %s", out)
	}
	testenv.Check(t, os.Remove(filler))
	testenv.Until(t, "/readyz says that there is room", func() bool { status, _ := get("/readyz"); return status == http.StatusOK })
	if status, body := post("/api/v1/telemetry/", event); status != http.StatusCreated {
		t.Error(status, body)
	}
	log := c.server.stderr.String()
	for _, line := range []string{`level=ERROR msg="disk nearly full; batches are refused"`, `level=ERROR msg="disk has room again; batches are accepted"`} {
		if n := strings.Count(log, line); n != 1 {
			t.Errorf("%d lines %s in the log:\n%s", n, line, log)
		}
	}
}

// With --min-free-disk 0 there is no minimum. On a disk that is truly full nothing that was
// accepted is lost, and the server goes on by itself when there is room.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	disk := mountSmallDisk(t)
	c := newTestCluster(t, "--min-free-disk", "0")
	c.data = disk
	c.startServer()
	l := startLoad(c, loadOptions{})
	l.waitForBatches(10)
	filler, err := os.Create(filepath.Join(disk, "filler"))
	testenv.Check(t, err)
	for page := make([]byte, 64<<10); ; {
		if _, err = filler.Write(page); err != nil {
			break
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	testenv.Until(t, "/readyz says that the disk is full", func() bool {
		status, body := c.request(http.MethodGet, "/readyz", "", "")
		return status == http.StatusServiceUnavailable && strings.Contains(body, `"disk":"nearly full: `)
	})
	testenv.Check(t, errors.Join(filler.Close(), os.Remove(filler.Name())))
	testenv.Until(t, "/readyz says that there is room", func() bool {
		status, _ := c.request(http.MethodGet, "/readyz", "", "")
		return status == http.StatusOK
	})
	l.waitForBatches(10)
	l.stop()
	l.check()
}

// A server or a command that a full disk keeps from opening the store says what to do.
func TestStartOnFullDisk(t *testing.T) {
	t.Parallel()
	disk := mountSmallDisk(t)
	c := newTestCluster(t)
	c.data = disk
	c.startServer()
	c.server.kill()
	filler, err := os.Create(filepath.Join(disk, "filler"))
	testenv.Check(t, err)
	for page := make([]byte, 1<<10); err == nil; {
		_, err = filler.Write(page)
	}
	filler.Close()
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"serve", "--listen", "127.0.0.1:0"}, {"hunt"}, {"token", "create", "--collector", "c"}} {
		out, err := exec.Command("picket", append(args, "--data", disk)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "\nhint: free some MiB on the disk") {
			t.Errorf("%v: %v %s", args, err, out)
		}
	}
	testenv.Check(t, os.Remove(filler.Name()))
	c.startServer()
}
