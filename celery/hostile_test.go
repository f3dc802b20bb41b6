package celery_test

import (
	"strings"
	"testing"
	"time"

	"github.com/picket-edr/picket/celery"
)

// TestHostile bounds the time that bodies of a quarter of a megabyte take which were
// made to take long.
func TestHostile(t *testing.T) {
	nest := func(open, inner, end string, depth int) string {
		return strings.Repeat(open, depth) + inner + strings.Repeat(end, depth)
	}
	filler := `"` + strings.Repeat("x", 1<<18) + `"`
	group := `{"task": "g", "subtask_type": "group", "kwargs": {"tasks": [`
	chain := `{"task": "c", "subtask_type": "chain", "kwargs": {"tasks": [`
	chord := `{"task": "c", "subtask_type": "chord", "kwargs": {"header": [{"task": "t"}], "body": `
	leaf := `{"task": "t", "args": [` + filler + `]}`
	for name, body := range map[string]string{
		"arrays":   `[[` + nest("[", filler, "]", 900) + `], {}, {}]`,
		"objects":  `[[` + nest(`{"__value__": `, filler, "}", 900) + `], {}, {}]`,
		"typed":    `[[` + strings.Repeat(`{"__type__":"uuid","__value__":{"hex":"x"}},`, 20000) + `1], {}, {}]`,
		"escapes":  `[["` + strings.Repeat(`\u00e9`, 1<<17) + `"], {}, {}]`,
		"groups":   `[[], {}, {"callbacks": [` + nest(group, leaf, "]}}", 200) + `]}]`,
		"chains":   `[[], {}, {"chain": [` + nest(chain, leaf, "]}}", 200) + `]}]`,
		"chords":   `[[], {}, {"callbacks": [` + nest(chord, leaf, "}}", 200) + `]}]`,
		"wide":     `[[], {}, {"callbacks": [` + group + strings.Repeat(`{"task": "t"}, `, 20000) + leaf + `]}}]}]`,
		"wide two": `[[], {}, {"chain": [` + leaf + `, ` + group + strings.Repeat(`{"task": "t"}, `, 20000) + leaf + `]}}]}]`,
		"wide chord": `[[], {}, {"callbacks": [{"task": "c", "subtask_type": "chord", "kwargs": {"header": [` +
			strings.Repeat(`{"task": "t"}, `, 20000) + leaf + `], "body": ` + leaf + `}}]}]`,
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			task := decode(t, enveloped(body))
			if _, err := celery.NormalizeJSON(nil, task.Args); err != nil {
				t.Error(err)
			}
			celery.Repr(nil, task.Args, 1024)
			next, err := task.FollowUpTasks([]byte("1"))
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("took %v", took)
			} else {
				t.Logf("%v, %d tasks, %v", took, len(next), err)
			}
		})
	}
}
