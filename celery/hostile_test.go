package celery_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/picket-edr/picket/celery"
)

// maxMultiple is how many times its own size a body may cost in allocations.
const maxMultiple = 256

// Decoding a body that was made to be expensive allocates a bounded multiple of the body's size.
func TestHostile(t *testing.T) {
	nest := func(open, inner, end string, depth int) string {
		return strings.Repeat(open, depth) + inner + strings.Repeat(end, depth)
	}
	filler := `"` + strings.Repeat("x", 1<<18) + `"`
	chain := `{"task": "c", "subtask_type": "chain", "kwargs": {"tasks": [`
	leaf := `{"task": "t", "args": [` + filler + `]}`
	for name, body := range map[string]string{
		"arrays":  `[[` + nest("[", filler, "]", 900) + `], {}, {}]`,
		"objects": `[[` + nest(`{"__value__": `, filler, "}", 900) + `], {}, {}]`,
		"typed":   `[[` + strings.Repeat(`{"__type__":"uuid","__value__":{"hex":"x"}},`, 20000) + `1], {}, {}]`,
		"escapes": `[["` + strings.Repeat(`\u00e9`, 1<<17) + `"], {}, {}]`,
		"chains":  `[[], {}, {"chain": [` + nest(chain, leaf, "]}}", 200) + `]}]`,
		"wide":    `[[], {}, {"callbacks": [` + strings.Repeat(`{"task": "t"}, `, 20000) + leaf + `]}]`,
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			task := decode(t, enveloped(body))
			if _, err := celery.NormalizeJSON(nil, task.Args); err != nil {
				t.Error(err)
			}
			kinds := task.FollowUps()
			runtime.ReadMemStats(&after)
			allocated := int(after.TotalAlloc - before.TotalAlloc)
			if allocated > maxMultiple*len(body) {
				t.Errorf("%d bytes allocated for a body of %d", allocated, len(body))
			}
			t.Logf("%d bytes allocated for a body of %d with %v", allocated, len(body), kinds)
		})
	}
}
