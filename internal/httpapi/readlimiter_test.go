package httpapi

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/testenv"
)

func readRequest(ctx context.Context) *http.Request {
	return httptest.NewRequest("GET", "/", nil).WithContext(ctx)
}

// One caller has one search at a time, and all have four; others get a 429. Lists
// have slots of their own.
func TestReadLimiterSlots(t *testing.T) {
	l := NewReadLimiter(testenv.Timeout)
	l.slotWait = time.Millisecond
	end := make(chan struct{})
	var results []chan error
	start := func(caller string) {
		running, result := make(chan struct{}), make(chan error, 1)
		results = append(results, result)
		go func() {
			result <- l.ServeSearch(httptest.NewRecorder(), readRequest(t.Context()), caller, func(http.ResponseWriter, *http.Request) error {
				close(running)
				<-end
				return nil
			})
		}()
		<-running
	}
	try := func(limit ReadLimit, caller string) error {
		return limit(httptest.NewRecorder(), readRequest(t.Context()), caller, func(http.ResponseWriter, *http.Request) error { return nil })
	}
	start("a")
	if err := try(l.ServeSearch, "a"); StatusOf(err) != http.StatusTooManyRequests || !strings.Contains(err.Error(), "too many searches") {
		t.Errorf("second search of a: %v", err)
	}
	if err := try(l.ServeSearch, "b"); err != nil {
		t.Errorf("search of b: %v", err)
	}
	start("b")
	start("c")
	start("d")
	if err := try(l.ServeSearch, "e"); StatusOf(err) != http.StatusTooManyRequests {
		t.Errorf("fifth search: %v", err)
	}
	if err := try(l.ServeList, "a"); err != nil {
		t.Errorf("list of a: %v", err)
	}
	close(end)
	for _, r := range results {
		testenv.Check(t, <-r)
	}
	if err := try(l.ServeSearch, "a"); err != nil {
		t.Errorf("search after the others: %v", err)
	}
	if n := len(l.searches.callers) + len(l.lists.callers); n != 0 {
		t.Errorf("%d callers are remembered", n)
	}
}

// A request that takes too long ends with an answer that says what to do, and one
// whose client has disconnected ends as canceled.
func TestReadLimiterTimeout(t *testing.T) {
	l := NewReadLimiter(time.Millisecond)
	wait := func(_ http.ResponseWriter, r *http.Request) error {
		<-r.Context().Done()
		return errors.New("interrupted") // as drivers say it
	}
	err := l.ServeSearch(httptest.NewRecorder(), readRequest(t.Context()), "a", wait)
	if StatusOf(err) != http.StatusServiceUnavailable || !strings.Contains(err.Error(), "narrow the time range") {
		t.Errorf("a search that takes too long: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	l.timeout = testenv.Timeout
	err = l.ServeSearch(httptest.NewRecorder(), readRequest(ctx), "a", func(w http.ResponseWriter, r *http.Request) error {
		cancel()
		return wait(w, r)
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a client that disconnected: %v", err)
	}
}
