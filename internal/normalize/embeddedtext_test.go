package normalize_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/picket-edr/picket/internal/normalize"
	"github.com/picket-edr/picket/internal/testenv"
	"github.com/picket-edr/picket/sigma"
)

// value is the values of a field, with commas between.
func value(d *normalize.Event, name string) string {
	var values []string
	for _, f := range d.Fields(nil) {
		if f.Name == name {
			values = append(values, f.Value.Text)
		}
	}
	return strings.Join(values, ",")
}

// message is an event with a text in it.
func message(text string) []byte {
	raw, err := json.Marshal(map[string]string{"message": text})
	if err != nil {
		panic(err)
	}
	return raw
}

// Unusual but valid audit records are parsed, and text that is not a record is
// left alone.
func TestAuditRecords(t *testing.T) {
	const head = "type=EXECVE msg=audit(1700000000.123:456): "
	for _, tt := range []struct{ text, field, want string }{
		{head + `a0="sh"`, "a0", "sh"},
		{head + `a0=7368`, "a0", "sh"},
		{head + `a0=736`, "a0", "736"},
		{head + `a0=ff`, "a0", "\ufffd"},
		{head + `a0="a b" a1=`, "a0", "a b"},
		{head + `a0="open`, "a0", `"open`},
		{head + `a0[0]="x" a0[1]=79 a1="z"`, "a0", "xy"},
		{head + `a0[0]="x" a0[1]=79 a1="z"`, "a1", "z"},
		{head + `key=(null) a0="x"`, "key", ""},
		{"type=USER_CMD msg=audit(1700000000.123:456): pid=1 msg='cwd=\"/\" cmd=6C73202D6C res=success'", "cmd", "ls -l"},
		{"type=UNKNOWN[1999] msg=audit(1700000000.123:456): x=1", "type", "UNKNOWN[1999]"},
		{"type=PROCTITLE msg=audit(1700000000.123:456): proctitle=6C73002D6C", "proctitle", "ls -l"},
		{"type=SYSCALL msg=audit(1700000000.123:456): arch=c000003e syscall=9999 a0=1", "SYSCALL", ""},
		{"no record: type=x audit(", "type", ""},
		{"type=x msg=audit(1700000000.123): a0=1", "type", ""},
		{"msg=audit(1700000000.123:456): a0=1", "type", ""},
	} {
		d, err := normalize.NewReader().Read(message(tt.text))
		if err != nil {
			t.Fatal(err)
		}
		if got := value(d, tt.field); got != tt.want {
			t.Errorf("%s: %s is %q, want %q", tt.text, tt.field, got, tt.want)
		}
	}
}

// A failed system call started no process and created no file.
func TestFailedSyscalls(t *testing.T) {
	const id = "msg=audit(1700000000.123:456): "
	text := "type=SYSCALL " + id + "arch=c000003e syscall=59 success=no exe=\"/bin/sh\" pid=1\n" +
		"type=EXECVE " + id + "a0=\"id\"\ntype=PATH " + id + "name=\"/x\" nametype=CREATE"
	d, err := normalize.NewReader().Read(message(text))
	if err != nil || d.Class.Type != "auditd" || value(d, "Image") != "" {
		t.Errorf("%v %+v", err, d.Class)
	}
}

// Log lines of other kinds stay as they are.
func TestNotSyslog(t *testing.T) {
	for _, raw := range []string{
		`{"message":"hello"}`, `{"message":"Jan  2 03:04:05 no program here"}`, `{"message":"2026-01-02 03:04:05 INFO main: started"}`,
		`{"program":"sshd"}`, `{"message":"Jan  2 03:04:05 host two words: x"}`, `{"message":"","program":"sshd"}`,
		`{"message":"<Event","host":"x"}`, `{"ID":1,"PATH":"/x"}`,
	} {
		d, err := normalize.NewReader().Read([]byte(raw))
		if err != nil || d.Format != "generic" {
			t.Errorf("%s: %v, %v", raw, d, err)
		}
	}
}

// An event that declares its format, or comes from another system, is not treated
// as a Linux log line.
func TestDeclaredFormatWins(t *testing.T) {
	for raw, want := range map[string]sigma.LogSource{
		`{"event_type":"dns","program":"named","message":"x"}`:          {Product: "linux", Category: "dns"},
		`{"os":"windows","program":"svchost","message":"x"}`:            {Product: "windows"},
		`{"os":"Ubuntu 24.04","program":"su","message":"x"}`:            {Product: "linux", Service: "auth"},
		`{"program":"/usr/sbin/CRON[12]:","message":"x"}`:               {Product: "linux", Service: "cron"},
		`{"ecs":{"version":"8"},"event":{"dataset":"x"},"message":"x"}`: {},
	} {
		d, err := normalize.NewReader().Read([]byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		if want != (sigma.LogSource{}) && !slices.Contains(d.Class.Sources, want) || want == (sigma.LogSource{}) && d.Format != "ecs" {
			t.Errorf("%s: %s %+v", raw, d.Format, d.Class.Sources)
		}
	}
}

// Texts lead to few routes, and equal routes are one.
func TestRoutesAreShared(t *testing.T) {
	r, seen := normalize.NewReader(), make(map[*normalize.Class]bool)
	for i := range 1000 {
		for _, text := range []string{
			fmt.Sprintf("Jan  2 03:04:05 h p%d[1]: x", i),
			fmt.Sprintf("type=T%d msg=audit(1700000000.123:%d): a0=1", i, i),
			fmt.Sprintf("<Event><System><EventID>%d</EventID><Channel>C%d</Channel></System></Event>", i, i),
		} {
			d, err := r.Read(message(text))
			if err != nil {
				t.Fatal(err)
			}
			seen[d.Class] = true
		}
	}
	if len(seen) != 3 {
		t.Errorf("%d classes", len(seen))
	}
}

// Texts that are hard to parse take linear time. In quadratic time one of these
// would take so long that the test times out.
func TestTextsAreLinear(t *testing.T) {
	const head, size = "type=EXECVE msg=audit(1700000000.123:456): ", 1 << 20 // as large as an event may be
	for _, unit := range []string{`a0[1]=41 `, `a={ `, `a0="x" `, `a= `, "=", `msg='`, "\n" + head, "a ", "<Event>", "<Event><System>"} {
		for _, text := range []string{head + strings.Repeat(unit, size/len(unit)), strings.Repeat(unit, size/len(unit)) + "</Event>"} {
			d, err := normalize.NewReader().Read(message(text))
			switch {
			case err == nil:
				d.Fields(nil)
			case !strings.Contains(err.Error(), "more than 65536 fields"):
				t.Fatal(err)
			}
		}
	}
}

// So do the lists of Laurel.
func TestListsAreLinear(t *testing.T) {
	const n = 1<<15 - 8 // nearly flatjson.MaxLeaves together
	raw := `{"ID":"1:2","SYSCALL":{"exe":"x"},"PROCTITLE":{"ARGV":["a"` + strings.Repeat(`,"a"`, n) + `]},"PARENT_INFO":{"ARGV":["a"` +
		strings.Repeat(`,"a"`, n) + `]}}`
	r := normalize.NewReader()
	for range 32 {
		_, err := r.Read([]byte(raw))
		testenv.Check(t, err)
	}
}

func FuzzText(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.json")
	for _, file := range files {
		raw, _ := os.ReadFile(file)
		var event map[string]any
		if json.Unmarshal(raw, &event) != nil {
			continue
		}
		for _, name := range []string{"message", "log", "MESSAGE"} {
			if text, ok := event[name].(string); ok {
				f.Add(text)
			}
		}
	}
	r := normalize.NewReader()
	f.Fuzz(func(t *testing.T, text string) {
		d, err := r.Read(message(text))
		if err != nil && strings.Contains(err.Error(), "more than 65536 fields") {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if d.Class == nil {
			t.Fatal("no class")
		}
		for _, field := range d.Fields(nil) {
			if !utf8.ValidString(field.Value.Text) {
				t.Fatalf("%s is %q", field.Name, field.Value.Text)
			}
		}
	})
}
