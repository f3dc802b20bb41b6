package main

import (
	"bufio"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/store/mongostore/mongotest"
)

// Of servers that start concurrently on one empty store, exactly one creates the
// admin account and prints its password. On one data directory, only one of them serves.
func TestConcurrentFirstStart(t *testing.T) {
	t.Parallel()
	const servers = 4
	for name, newLocation := range map[string]func(t *testing.T) *storeLocation{
		"sqlite":  func(t *testing.T) *storeLocation { return &storeLocation{data: t.TempDir(), name: "sqlite"} },
		"mongodb": func(t *testing.T) *storeLocation { return &storeLocation{name: mongotest.Start(t).Database(t)} },
	} {
		t.Run(name, func(t *testing.T) {
			at := newLocation(t)
			var mu sync.Mutex
			var passwords []string
			refused := 0
			var up sync.WaitGroup
			for range servers {
				dir := at.data
				if at.isRemote() {
					dir = t.TempDir()
				}
				p, out, err := startProcess(dir, nil, "serve", "--data", ".", "--store", at.name, "--listen", "127.0.0.1:0", "--workers", "0")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(p.kill)
				up.Add(1)
				go func() {
					serves := false
					for s := bufio.NewScanner(out); s.Scan(); {
						if m := regexp.MustCompile(`admin with password (\S+)`).FindStringSubmatch(s.Text()); m != nil {
							mu.Lock()
							passwords = append(passwords, m[1])
							mu.Unlock()
						}
						if strings.Contains(s.Text(), "console: ") {
							serves = true
							up.Done()
						}
					}
					if serves {
						return
					}
					<-p.exited
					mu.Lock()
					defer mu.Unlock()
					if refused++; at.isRemote() || !strings.Contains(p.stderr.String(), "a server uses it") {
						t.Errorf("server did not start: %s", p.stderr.String())
					}
					up.Done()
				}()
			}
			up.Wait()
			if !at.isRemote() && refused != servers-1 {
				t.Errorf("%d servers were refused on a data directory of another", refused)
			}
			if len(passwords) != 1 {
				t.Fatalf("%d passwords were printed, want 1", len(passwords))
			}
			s, err := at.open(t.Context(), nil, true)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if _, err := auth.NewSessions(s, time.Now).SignIn(t.Context(), "admin", passwords[0], "127.0.0.1"); err != nil {
				t.Errorf("sign in with the printed password: %v", err)
			}
		})
	}
}
