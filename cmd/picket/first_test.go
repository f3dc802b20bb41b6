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

// Of servers that are first started at one moment on one empty store, one
// makes the account and shows its password.
func TestFirstStartAtOnce(t *testing.T) {
	const servers = 4
	for name, place := range map[string]func(t *testing.T) *storeLocation{
		"sqlite":  func(t *testing.T) *storeLocation { return &storeLocation{data: t.TempDir(), name: "sqlite"} },
		"mongodb": func(t *testing.T) *storeLocation { return &storeLocation{name: mongotest.Start(t).Database(t)} },
	} {
		t.Run(name, func(t *testing.T) {
			at := place(t)
			var mu sync.Mutex
			var passwords []string
			var up sync.WaitGroup
			for range servers {
				dir := at.data
				if at.remote() {
					dir = t.TempDir()
				}
				p, out, err := start(dir, "serve", "--data", ".", "--store", at.name, "--listen", "127.0.0.1:0", "--workers", "0")
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
					if !serves {
						t.Errorf("a server does not start: %s", p.err.String())
						up.Done()
					}
				}()
			}
			up.Wait()
			if len(passwords) != 1 {
				t.Fatalf("%d passwords were shown, want 1", len(passwords))
			}
			s, err := at.open(t.Context(), nil, true)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if _, err := auth.NewSessions(s, time.Now).SignIn(t.Context(), "admin", passwords[0], "127.0.0.1"); err != nil {
				t.Errorf("the password that was shown: %v", err)
			}
		})
	}
}
