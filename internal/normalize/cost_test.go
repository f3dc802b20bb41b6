package normalize_test

import (
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/normalize"
	"github.com/picket-edr/picket/internal/testenv"
)

// FuzzReadCost: reading an event and its fields allocates no more than a small multiple
// of its bytes, whatever format it claims. docs/limits.md states it.
func FuzzReadCost(f *testing.F) {
	const audit = "type=SYSCALL msg=audit(1700000000.123:456): "
	for _, text := range []string{
		audit + strings.Repeat("a=b ", 60_000), audit + strings.Repeat("a=b ", 250_000), strings.Repeat(audit+"\n", 20_000),
		"type=EXECVE msg=audit(1700000000.123:456): " + strings.Repeat("a0[1]=41 ", 50_000),
		"<Event>" + strings.Repeat("<a/>", 200_000) + "</Event>", "<Event>" + strings.Repeat(`<a b="c"/>`, 4_900) + "</Event>",
		"<Event><EventData>" + strings.Repeat(`<Data Name="N">v</Data>`, 4_900) + "</EventData></Event>",
		"<Event>" + strings.Repeat("<a>", 31) + strings.Repeat("</a>", 31) + "</Event>",
		"Jan  2 03:04:05 h sudo: " + strings.Repeat("TTY=a ; ", 100_000),
	} {
		f.Add(message(text))
	}
	many := func(n int) string { return strings.Repeat(`"a",`, n) + `"a"` }
	for _, raw := range []string{
		`{"rule":"r","priority":"x","output_fields":{},"tags":[` + many(60_000) + `]}`,
		`{"ID":"1:2","SYSCALL":{"exe":"x","ARGV":[` + many(60_000) + `]}}`,
		`{"ID":"1:2","EXECVE":{"ARGV":[` + many(60_000) + `]}}`,
		`{"ID":"1:2","SYSCALL":{"a":[` + strings.Repeat(`"%41",`, 60_000) + `"a"]}}`,
		`{"auditd":{"data":{"syscall":"execve"}},"process":{"args":[` + many(60_000) + `]}}`,
		`{"ecs":{"version":"8"},"event":{"category":[` + many(60_000) + `]},"process":{"hash":{"md5":[` + many(5000) + `]}}}`,
		`{"Event":{"System":{"EventID":4688},"EventData":{"NewProcessName":[` + many(60_000) + `]}}}`,
		`{"winlog":{"channel":"Security","event_id":4657,"event_data":{"OperationType":[` + many(60_000) + `]}}}`,
	} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := normalize.NewReader()
		testenv.CheckAllocated(t, 2<<20+192*len(raw), func() {
			if d, err := r.Read(raw); err == nil {
				d.Fields(nil)
			}
		})
	})
}
