package ruleset_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/detect/detecttest"
	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/internal/testenv"
)

// A filter applies until it expires, without a change of its file.
func TestExpiry(t *testing.T) {
	filter := func(id, expires string) string {
		return fmt.Sprintf("title: Filter %s\nid: 00000000-0000-4000-8000-0000000000%s\nexpires: %s\nlogsource: {product: windows}\n"+
			"filter:\n  rules: [%s]\n  s: {CommandLine: x}\n  condition: not s\n", id, id, expires, detecttest.RuleIDOne)
	}
	dir := writeFiles(t, map[string]string{
		"rule.yml": detecttest.RuleMatching(detecttest.RuleIDOne, "one"),
		"past.yml": filter("f1", "2020-01-01"), "soon.yml": filter("f2", time.Now().Add(500*time.Millisecond).UTC().Format(time.RFC3339Nano)), "later.yml": filter("f3", "2999-01-01T00:00:00Z"),
		"bad.yml": filter("f4", "tomorrow"),
	})
	l, err := ruleset.NewLoader([]ruleset.Source{{Name: dir}}, filepath.Join(t.TempDir(), "off"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	set, _ := l.Status()
	if len(set.Problems) != 1 || set.Problems[0].Reason != "expires is neither a date nor a time" {
		t.Errorf("problems: %v", set.Problems)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go l.Watch(ctx, 10*time.Millisecond)
	testenv.Until(t, "the filter to expire", func() bool {
		set, _ := l.Status()
		return titles(set.Enabled) == "one Filter f3" && titles(set.Expired) == "Filter f1 Filter f2"
	})
}
