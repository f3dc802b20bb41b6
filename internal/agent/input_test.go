package agent_test

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/agent"
)

func TestParseInput(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	path := file(t, "x.json", "[]")
	for spec, want := range map[string]*agent.Replay{
		"replay:" + path:                        {Path: path},
		"replay:" + path + "?speed=2.5&loops=3": {Path: path, Speed: 2.5, Loops: 3},
	} {
		in, err := agent.ParseInput(spec, "me", log)
		check(t, err)
		if diff := cmp.Diff(want, in.Source); diff != "" || !in.Wait {
			t.Errorf("%s (-want +got):\n%s", spec, diff)
		}
	}
	in, err := agent.ParseInput("process", "me", log)
	check(t, err)
	if p, ok := in.Source.(*agent.Process); !ok || p.AgentID != "me" || in.Wait {
		t.Errorf("process: %+v", in)
	}
	for _, spec := range []string{"", "evtx", "replay:" + path + "?speed=x", "replay:" + path + "?fast=1"} {
		if _, err := agent.ParseInput(spec, "me", log); !errors.Is(err, picket.ErrInvalid) {
			t.Errorf("%q: error %v, want ErrInvalid", spec, err)
		}
	}
	if _, err := agent.ParseInput("replay:no-such-file", "me", log); err == nil {
		t.Error("no error of a file that is not there")
	}
}
