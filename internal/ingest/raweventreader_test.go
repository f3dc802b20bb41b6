package ingest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/ingest"
	"github.com/picket-edr/picket/internal/legacy"
)

// A queued event whose host is too long gets its agent's name as host.
func TestQueuedEventLongHost(t *testing.T) {
	r := ingest.NewRawEventReader("celery", legacy.Validator{}, nil)
	raw := `{"agent_id":"a1","event_id":"e1","event_type":"process","host":{"hostname":"` + strings.Repeat("h", 100_000) + `"},"process":{"name":"x"}}`
	ev, err := r.Read([]byte(raw), "", time.Now())
	if err != nil || ev.Host != "a1" {
		t.Errorf("host %.100q, error %v", ev.Host, err)
	}
}
