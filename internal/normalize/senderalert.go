package normalize

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strings"

	"github.com/picket-edr/picket/sigma"
)

// A SenderAlert is an alert that the sender itself raised, as Falco does. Its texts
// are bounded, because stores keep and index them for each alert.
type SenderAlert struct {
	RuleID, Title string
	Level         sigma.Level
	Tags          []string
}

// senderRulePrefixes begin the rule ids of the alerts that senders raise.
var senderRulePrefixes = []string{falcoRulePrefix}

// SenderRuleTitle returns the title of the sender's rule with an id, as far as the id has
// it, and whether it is such an id.
func SenderRuleTitle(ruleID string) (title string, ok bool) {
	for _, prefix := range senderRulePrefixes {
		if title, ok := strings.CutPrefix(ruleID, prefix); ok && title != "" {
			return title, true
		}
	}
	return "", false
}

// Bounds of a SenderAlert, in bytes.
const (
	maxAlertNameBytes = 128 // of RuleID and Title
	maxAlertTagBytes  = 64
	maxAlertTags      = 16 // their number
)

// truncate cuts the texts of the alert to their bounds. Rule ids that differ stay
// different.
func (a *SenderAlert) truncate() {
	a.RuleID, a.Title = truncateWithHash(a.RuleID, maxAlertNameBytes), truncateWithHash(a.Title, maxAlertNameBytes)
	a.Tags = a.Tags[:min(len(a.Tags), maxAlertTags)]
	for i, tag := range a.Tags {
		a.Tags[i] = truncateWithHash(tag, maxAlertTagBytes)
	}
}

// truncateWithHash returns s or, if it is longer than limitBytes, its start and a hash of
// all of it.
func truncateWithHash(s string, limitBytes int) string {
	if len(s) <= limitBytes {
		return s
	}
	h := sha256.New()
	io.WriteString(h, s)
	end := "…" + hex.EncodeToString(h.Sum(nil)[:12])
	return strings.ToValidUTF8(s[:limitBytes-len(end)], "") + end
}
