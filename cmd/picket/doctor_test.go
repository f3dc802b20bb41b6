//go:build unix

package main

import (
	"os/exec"
	"regexp"
	"syscall"
	"testing"

	"github.com/picket-edr/picket/internal/redistest"
	"github.com/picket-edr/picket/internal/store/mongostore/mongotest"
)

// Doctor checks a store on MongoDB, a queue and a cache on Redis, and gives a
// hint for each that cannot be used.
func TestDoctorEngines(t *testing.T) {
	t.Parallel()
	redis, mongo := redistest.Start(t, redistest.DurableArgs...), mongotest.StartProcess(t, t.TempDir(), "127.0.0.1:0")
	database := mongo.Database(t)
	args := []string{"doctor", "--data", "nothing", "--listen", "127.0.0.1:1", "--queue", redis.URL(), "--cache", "redis://" + redis.Addr + "/1", "--store"}
	report := func(store string, lines ...string) {
		t.Helper()
		cmd := exec.Command("picket", append(args, store)...)
		cmd.Dir = t.TempDir()
		out, err := cmd.Output()
		if _, failed := err.(*exec.ExitError); !failed { // at least the port check fails
			t.Fatalf("doctor: %v: %s", err, out)
		}
		for _, line := range lines {
			if !regexp.MustCompile("(?m)" + line).Match(out) {
				t.Errorf("doctor does not print %s:\n%s", line, out)
			}
		}
	}
	report(database, "^ok    disk   .*only a server needs one", "^ok    queue ", "^ok    cache .* answers",
		"^FAIL  store  MongoDB .*nothing yet", "hint: picket serve --store makes it")
	c := newTestCluster(t, "--workers", "0", "--store", database)
	c.startServer()
	report(database, "^ok    store  MongoDB .*: 0 events, 0 alerts$")
	standalone := mongotest.StartProcess(t, t.TempDir(), "127.0.0.1:0", "--standalone")
	report(standalone.Database(t), "^FAIL  store .*is not a replica set", "hint: .*--replSet")
	serve := exec.Command("picket", "serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--store", standalone.Database(t))
	stderr, err := serve.CombinedOutput()
	if err == nil || !regexp.MustCompile(`\Apicket: .*is not a replica set.*\nhint: .*--replSet.*\n\z`).Match(stderr) {
		t.Errorf("serve on a server without replication: %v: %s", err, stderr)
	}
	report("mongodb://u:secret@"+mongo.Addr()+"/x", "^FAIL  store .*access denied", "hint: the user needs readWrite")
	c.server.kill()
	mongo.Process().Signal(syscall.SIGSTOP)
	redis.Kill()
	report(database+"?serverSelectionTimeoutMS=300&connectTimeoutMS=300", "^FAIL  store ", "hint: is MongoDB running there", "^FAIL  cache ", "hint: is Redis running there", "^FAIL  queue ")
	mongo.Process().Signal(syscall.SIGCONT)
}
