package normalize_test

import (
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/normalize"
)

// Of a program's arguments, the first 128 are fields of their own.
func TestExecArguments(t *testing.T) {
	for _, process := range []string{
		`"command_line":"x` + strings.Repeat(" y", 500) + `"`,
		`"command_line":"x","args":["x"` + strings.Repeat(`,"y"`, 500) + `]`,
	} {
		d, err := normalize.NewReader().Read([]byte(`{"event_type":"process","host":{"os":"Linux"},"process":{"name":"/bin/x",` + process + `}}`))
		if err != nil {
			t.Fatal(err)
		}
		fields := make(map[string]string)
		for _, f := range d.Fields(nil) {
			fields[f.Name] = f.Value.Text
		}
		if fields["a0"] != "x" || fields["a127"] != "y" || fields["a128"] != "" {
			t.Errorf("%.60s…: a0 is %q, a127 %q, a128 %q", process, fields["a0"], fields["a127"], fields["a128"])
		}
	}
}
