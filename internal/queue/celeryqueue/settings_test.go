package celeryqueue

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		url         string
		own, shared []string
		publish     string
	}{
		{"celery+redis://h", []string{"picket"}, []string{"celery"}, "celery"},
		{"celery+redis://h/0?queue=edr", []string{"edr"}, nil, "edr"},
		{"celery+redis://h/0?queue=a&queue=b", []string{"a", "b"}, nil, "celery"},
		{"celery+redis://h/0?shared=celery", nil, []string{"celery"}, "celery"},
		{"celery+redis://h/0?queue=a&shared=b&publish=c", []string{"a"}, []string{"b"}, "c"},
	} {
		s, err := parseURL(c.url)
		if err != nil {
			t.Errorf("%s: %v", c.url, err)
			continue
		}
		if diff := cmp.Diff([]any{c.own, c.shared, c.publish}, []any{s.OwnQueues, s.SharedQueues, s.Publish}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.url, diff)
		}
	}
	s, err := parseURL("celery+redis://u:secret@h:1/3?task=a&task=b&results=redis://r/1&expires=0&node=w@h&visibility=10m&lease=5s" +
		"&global_keyprefix=g_&result_keyprefix=r_")
	if err != nil {
		t.Fatal(err)
	}
	if s.Results.Options.Addrs[0] != "r:6379" || s.Results.Options.DB != 1 || s.ResultExpires != 0 || s.VisibilityTimeout != 10*time.Minute || s.Broker.Lease != 5*time.Second {
		t.Errorf("%+v", s)
	}
	got := []string{s.Keys.List("q", 7), s.Keys.Result("t"), s.Keys.ControlChannel(), s.OwnKey("leases"), s.Broker.String()}
	want := []string{"g_q\x06\x166", "r_celery-task-meta-t", "g_/3.celery.pidbox", "g_picket:celery:leases", "redis://h:1/3"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	for _, bad := range []string{
		"redis://h", "celery+http://h", "celery+redis://h?node=w", "celery+redis://h?expires=soon", "celery+redis://h?priority_steps=0,5", "celery+redis://h?sep=:", "celery+redis://h?fanout_prefix=x",
		"celery+redis://h?results=elsewhere", "celery+redis://h?control=maybe", "celery+redis://h?ignore_result=perhaps", "celery+redis://h/x", "celery+redis://a,b?cluster=true", "celery+redis://secret@h?no=1", "celery+redis://h?%zz",
	} {
		if _, err := parseURL(bad); !errors.Is(err, picket.ErrInvalid) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// Unregistered tasks are claimed once they have waited without a sign of another
// worker.
func TestUnregisteredTasks(t *testing.T) {
	var s unregisteredClaimPolicy
	s.recordClaim(true)
	if s.shouldClaim() {
		t.Error("claimed at once")
	}
	s.since = s.since.Add(-2 * claimGraceNoOtherWorker)
	if !s.shouldClaim() {
		t.Error("never claimed")
	}
	heartbeat := func(ago time.Duration) { s.others.Store(time.Now().Add(-ago).UnixNano()) }
	heartbeat(0)
	if s.shouldClaim() {
		t.Error("claimed although another worker sent a heartbeat")
	}
	heartbeat(2 * claimGraceNoOtherWorker)
	if s.shouldClaim() {
		t.Error("claimed although the worker may be restarting")
	}
	s.since = s.since.Add(-2 * claimGraceOtherWorkerSeen)
	heartbeat(2 * claimGraceOtherWorkerSeen)
	if !s.shouldClaim() {
		t.Error("never claimed after the worker left")
	}
	s.recordClaim(false)
	s.recordClaim(true)
	if s.shouldClaim() {
		t.Error("claimed at once after an empty queue")
	}
}
