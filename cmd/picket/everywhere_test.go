//go:build unix

package main

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/picket-edr/picket/internal/redistest"
	"github.com/picket-edr/picket/internal/store/mongostore/mongotest"
)

// Everything is on machines of its own: a server, two workers that run the
// rules that it publishes, the queue on Redis, the store on MongoDB. Each is
// killed or frozen under load. Every event that was answered for is stored
// once, every alert is there once, and a correlation over them lists each.
func TestKillEverywhere(t *testing.T) {
	redis, mongo := redistest.Start(t, redistest.Durable...), mongotest.Start(t)
	t.Setenv("PICKET_QUEUE", redis.URL()+"?lease=2s")
	t.Setenv("PICKET_STORE", mongo.Database(t))
	t.Setenv("PICKET_CACHE", "redis://"+redis.Addr+"/1")
	rules := t.TempDir()
	if err := os.WriteFile(filepath.Join(rules, "many.yml"), []byte(manyRule), 0o600); err != nil {
		t.Fatal(err)
	}
	f := newFleet(t, "--workers", "0", "--rules", "builtin", "--rules", rules)
	f.up()
	l := startLoad(f)
	var workers [2]*process
	hire := func(i int) {
		t.Helper()
		p, _, err := start(t.TempDir(), "worker", "--concurrency", "2")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.kill)
		workers[i] = p
	}
	hire(0)
	hire(1)
	l.more(10)
	for n := range rounds(5) {
		switch n % 5 {
		case 0:
			i := rand.IntN(2)
			workers[i].kill()
			l.more(5)
			hire(i)
		case 1:
			f.current.kill()
			f.up()
		case 2:
			redis.Kill()
			l.more(10) // into the spool
			redis.Start()
		case 3:
			mongo.Process().Signal(syscall.SIGSTOP)
			l.more(10) // onto the queue
			mongo.Process().Signal(syscall.SIGCONT)
		case 4:
			redis.Freeze()
			moment()
			l.more(5)
			redis.Thaw()
		}
		l.more(5)
		moment()
	}
	l.halt()
	l.check()
	l.checkMany()
	for _, p := range workers {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	}
}
