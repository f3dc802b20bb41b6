package normalize_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/picket-edr/picket/internal/normalize"
)

// The texts of a sender's alert are bounded, and long names that differ stay different.
func TestSenderAlertBounds(t *testing.T) {
	r := normalize.NewReader()
	read := func(rule, tag string, tags int) normalize.SenderAlert {
		t.Helper()
		raw := fmt.Sprintf(`{"rule":%q,"priority":"Error","output_fields":{"a":1},"tags":[%s%q]}`, rule, strings.Repeat(fmt.Sprintf("%q,", tag), tags-1), tag)
		d, err := r.Read([]byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		return *d.Alert
	}
	long := strings.Repeat("ü", 50_000)
	a, b := read(long+"a", long, 40), read(long+"b", long, 1)
	for _, s := range append([]string{a.RuleID, a.Title}, a.Tags...) {
		if len(s) > 128 || !utf8.ValidString(s) || !strings.Contains(s, "üü") || !strings.Contains(s, "…") {
			t.Errorf("%d bytes: %.200q", len(s), s)
		}
	}
	if a.RuleID == b.RuleID || a.RuleID != read(long+"a", "", 1).RuleID {
		t.Errorf("rule ids %q and %q", a.RuleID, b.RuleID)
	}
	if len(a.Tags) > 16 {
		t.Errorf("%d tags", len(a.Tags))
	}
	name := "Redirect STDOUT/STDIN to Network Connection in Container"
	if a := read(name, "mitre_command_and_control", 3); a.RuleID != "falco:"+name || a.Title != name || len(a.Tags) != 3 {
		t.Errorf("ordinary alert: %+v", a)
	}
}
