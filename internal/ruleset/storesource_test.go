package ruleset_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/detect/detecttest"
	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/internal/store/sqlitestore"
	"github.com/picket-edr/picket/internal/testenv"
)

// Workers on other machines use what a server publishes: its rules, pipelines and
// disabled rules, also when they change.
func TestPublish(t *testing.T) {
	cluster, err := sqlitestore.Open(filepath.Join(t.TempDir(), "events.db"), sqlitestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	ctx, stop := context.WithCancel(t.Context())
	waiting := make(chan *ruleset.Loader)
	go func() {
		l, err := ruleset.NewPublishedLoader(ctx, cluster, discardLog)
		if err != nil {
			t.Error(err)
		}
		waiting <- l
	}()
	dir := writeFiles(t, map[string]string{"1.yml": detecttest.RuleMatching(detecttest.RuleIDOne, "one"), "2.yml": detecttest.RuleMatching(detecttest.RuleIDTwo, "two")})
	pipe := filepath.Join(t.TempDir(), "pipe.yml")
	write(t, pipe, "transformations: [{type: change_logsource, product: other}]\n")
	server, err := ruleset.NewLoader([]ruleset.Source{{Name: dir}, {Name: pipe, Pipeline: true}}, filepath.Join(t.TempDir(), "rules-off"), discardLog)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.StartPublishingTo(ctx, cluster); err != nil {
		t.Fatal(err)
	}
	worker := <-waiting
	if worker == nil {
		t.Fatal("no loader")
	}
	done := make(chan struct{}, 2)
	for _, l := range []*ruleset.Loader{server, worker} {
		go func() { l.Watch(ctx, time.Millisecond); done <- struct{}{} }()
	}
	defer func() { stop(); <-done; <-done }()
	await := func(wantEnabled, wantDisabled string) {
		t.Helper()
		testenv.Until(t, fmt.Sprintf("the worker has %q enabled and %q disabled", wantEnabled, wantDisabled), func() bool {
			enabled, disabled := worker.List()
			return titles(enabled) == wantEnabled && titles(disabled) == wantDisabled
		})
		mine, _ := server.Status()
		theirs, _ := worker.Status()
		if mine.Revision != theirs.Revision || theirs.Rules.Rules()[0].LogSource.Product != "other" {
			t.Errorf("server has %s, worker %s of product %s", mine.Revision, theirs.Revision, theirs.Rules.Rules()[0].LogSource.Product)
		}
	}
	await("one two", "")
	if err := server.SetEnabled(ctx, detecttest.RuleIDTwo, false); err != nil {
		t.Fatal(err)
	}
	await("one", "two")
	write(t, filepath.Join(dir, "1.yml"), detecttest.RuleMatching(detecttest.RuleIDOne, "first"))
	await("first", "two")
	if err := worker.SetEnabled(ctx, detecttest.RuleIDOne, false); !errors.Is(err, picket.ErrInvalid) {
		t.Errorf("a worker disables a rule: %v", err)
	}
}
