package agent

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/picket-edr/picket/internal/testenv"
)

// A failure that lasts is logged once an hour.
func TestLastingFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log testenv.Buffer
		c := connectionLog{log: slog.New(slog.NewTextHandler(&log, nil))}
		c.succeeded()
		for range 150 {
			c.failed(errors.New("refused"))
			time.Sleep(time.Minute)
		}
		if n := strings.Count(log.String(), "server still does not accept events"); n != 2 || !strings.Contains(log.String(), "for=2h0m0s") {
			t.Errorf("logged %d times: %s", n, log.String())
		}
	})
}
