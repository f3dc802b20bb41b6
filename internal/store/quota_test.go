package store

import (
	"testing"
	"time"

	"github.com/picket-edr/picket"
)

// A Quota counts what was committed, and starts again each minute.
func TestQuota(t *testing.T) {
	now := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	q := NewQuota(2)
	open := func(after time.Duration, agent string, commit bool) string {
		u := q.BeginTransaction(now.Add(after).UnixMicro())
		a := u.AlertOrGathering("s", picket.Alert{RuleID: "r", AgentID: agent})
		u.AddAlert("s", &a)
		if commit {
			u.Commit()
		}
		return a.RuleID
	}
	for i, c := range []struct {
		after  time.Duration
		agent  string
		commit bool
		want   string
	}{
		{0, "a", false, "r"}, {0, "a", true, "r"}, {time.Second, "a", false, "r"}, {2 * time.Second, "a", true, "r"},
		{3 * time.Second, "a", true, AlertQuotaRule}, {3 * time.Second, "b", true, "r"}, {59 * time.Second, "a", true, AlertQuotaRule},
		{60 * time.Second, "a", true, "r"},
	} {
		if got := open(c.after, c.agent, c.commit); got != c.want {
			t.Errorf("%d: rule %q, want %q", i, got, c.want)
		}
	}
	q = NewQuota(-1)
	for range 5000 {
		if open(0, "a", true) != "r" {
			t.Fatal("a quota without a bound has one")
		}
	}
}
