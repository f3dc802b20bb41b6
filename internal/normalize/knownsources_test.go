package normalize_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/picket-edr/picket/internal/normalize"
	"github.com/picket-edr/picket/sigma/lint"
)

// A rule for any logsource that an event has is not told that there are no such events.
func TestKnownSources(t *testing.T) {
	known := normalize.KnownSources()
	check := func(what string, raw []byte) {
		t.Helper()
		d, err := normalize.NewReader().Read(raw)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
		for _, s := range d.Class.Sources {
			if s.Category == "" && s.Service == "" {
				continue // a rule for all events of a product
			}
			if !slices.ContainsFunc(known, func(k lint.KnownLogSource) bool { return s.Covers(k.LogSource) }) {
				t.Errorf("%s: the logsource %s is not known", what, s)
			}
		}
	}
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		check(file, raw)
	}
	for _, program := range []string{"sshd", "cron", "clamd", "vsftpd", "guacd", "sudo", "su", "kernel"} {
		check(program, fmt.Appendf(nil, `{"message":"Jan  2 15:04:05 host %s[1]: text"}`, program))
	}
	for _, category := range []string{"webserver", "proxy", "dns", "firewall", "antivirus", "database"} {
		check(category, fmt.Appendf(nil, `{"event_type":%q,"host":"h"}`, category))
	}
}
