// Package doctor checks an installation for picket doctor: disk, queue, store,
// cache, rules, port, clock and token. A check that fails says what to do.
//
// It opens engines itself to ask them about their servers, as only cmd/picket
// does otherwise.
package doctor

import (
	"fmt"

	"github.com/picket-edr/picket"
)

// A Finding is the result of one check.
type Finding struct {
	Check   string `json:"check"`
	OK      bool   `json:"ok"`
	Warning bool   `json:"warning,omitempty"` // ok, but worth to know
	Text    string `json:"text"`
	Hint    string `json:"hint,omitempty"` // what to do about a failure or a warning
}

// A Report collects the findings of checks in their order.
type Report struct{ Findings []Finding }

// Healthy reports whether no check failed.
func (r *Report) Healthy() bool {
	for _, f := range r.Findings {
		if !f.OK {
			return false
		}
	}
	return true
}

func (r *Report) addOK(check, format string, args ...any) {
	r.Findings = append(r.Findings, Finding{Check: check, OK: true, Text: fmt.Sprintf(format, args...)})
}

func (r *Report) addWarning(check, hint, format string, args ...any) {
	r.Findings = append(r.Findings, Finding{Check: check, OK: true, Warning: true, Text: fmt.Sprintf(format, args...), Hint: hint})
}

func (r *Report) addFailure(check, hint, format string, args ...any) {
	r.Findings = append(r.Findings, Finding{Check: check, Text: picket.TrimErrorKindSuffix(fmt.Sprintf(format, args...)), Hint: hint})
}

// ReportHiddenSetting reports that a flag of the running server is unknown.
func ReportHiddenSetting(r *Report, flag string) {
	r.addWarning(flag, "give --"+flag+" as the server has it, best in the environment or the config file",
		"not checked: the URL that the server uses may contain a password, so the data directory does not have it")
}
