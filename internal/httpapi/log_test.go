package httpapi_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/testenv"
)

// Whoever sends requests that fail cannot fill the disk with the log: texts are cut,
// and past 60 requests a minute only counts are logged. Client errors do not crowd out
// server errors.
func TestLogIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log testenv.Buffer
		m := httpapi.NewMux(slog.New(slog.NewTextHandler(&log, nil)))
		m.Handle("GET /bad", func(http.ResponseWriter, *http.Request) error {
			return fmt.Errorf("%s: %w", strings.Repeat("e", 10_000), picket.ErrInvalid)
		}, httpapi.WriteError)
		m.Handle("GET /fail", func(http.ResponseWriter, *http.Request) error { return errors.New("the cause") }, httpapi.WriteError)
		get := func(path string) { m.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil)) }
		long := "/" + strings.Repeat("p", 10_000)
		for range 5000 {
			get(long)
		}
		for range 1000 {
			get("/bad")
		}
		get("/fail")
		if n := len(log.String()); n > 100<<10 || !strings.Contains(log.String(), `error="the cause"`) {
			t.Errorf("%d bytes of log, ending in %s", n, log.String()[max(0, n-500):])
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, want := range []string{"status=404 requests=4940", "status=400 requests=1000"} {
			if strings.Count(log.String(), want) != 1 {
				t.Errorf("the log does not have %q once", want)
			}
		}
		before := len(log.String())
		get("/bad")
		if line := log.String()[before:]; !strings.Contains(line, "status=400") || len(line) > 1000 || !strings.Contains(line, "(10009 bytes)") {
			t.Errorf("in the next minute: %s", line)
		}
	})
}
