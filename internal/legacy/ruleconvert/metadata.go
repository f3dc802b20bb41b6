package ruleconvert

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// metadata is everything in a rule but its conditions.
type metadata struct {
	id, title, description, status, author, level string
	date, modified                                string
	references, tags, legacyTags, falsePositives  []string
}

// statuses and levels map the legacy values to Sigma's. "" is a missing value.
var (
	statusByDeploymentStatus = map[string]string{"": "experimental", "DRAFT": "experimental", "TESTING": "test", "PRODUCTION": "stable", "DEPRECATED": "deprecated"}
	levelBySeverity          = map[string]string{
		"": "medium", "CRITICAL": "critical", "HIGH": "high", "MEDIUM": "medium", "LOW": "low", "INFO": "informational", "INFORMATIONAL": "informational",
	}
	tacticNameByID = map[string]string{
		"TA0001": "initial-access", "TA0002": "execution", "TA0003": "persistence", "TA0004": "privilege-escalation", "TA0005": "stealth",
		"TA0006": "credential-access", "TA0007": "discovery", "TA0008": "lateral-movement", "TA0009": "collection", "TA0010": "exfiltration",
		"TA0011": "command-and-control", "TA0040": "impact", "TA0042": "resource-development", "TA0043": "reconnaissance",
	}
	techniquePattern = regexp.MustCompile(`^[tT]\d{4}(\.\d{3})?$`)
	isoDatePattern   = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}`)
	uuidPattern      = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
)

// metadata reads the metadata, of which a rule without a record has little.
func (o legacyRule) metadata() (metadata, error) {
	h := metadata{id: sigmaRuleID(o.id), title: o.id, status: "experimental", level: "medium"}
	r := o.recordOrDetection()
	if name := strings.TrimSpace(textOf(r["name"])); name != "" {
		h.title = name
	}
	h.description, h.author = textOf(r["description"]), textOf(r["author"])
	var ok bool
	if h.status, ok = statusByDeploymentStatus[strings.ToUpper(textOf(r["deployment_status"]))]; !ok {
		return h, fmt.Errorf("deployment_status %q is none of the legacy system's", textOf(r["deployment_status"]))
	}
	if h.level, ok = levelBySeverity[strings.ToUpper(textOf(r["severity"]))]; !ok {
		return h, fmt.Errorf("severity %q is none of the legacy system's", textOf(r["severity"]))
	}
	h.date, h.modified = isoDatePattern.FindString(textOf(r["created_at"])), isoDatePattern.FindString(textOf(r["last_modified"]))
	h.references, h.legacyTags = textsInList(r["references"]), textsInList(r["tags"])
	for _, t := range textsInList(r["mitre_tactics"]) {
		if name, ok := tacticNameByID[strings.ToUpper(t)]; ok {
			h.tags = append(h.tags, "attack."+name)
		} else {
			h.legacyTags = append(h.legacyTags, t)
		}
	}
	for _, t := range textsInList(r["mitre_techniques"]) {
		if techniquePattern.MatchString(t) {
			h.tags = append(h.tags, "attack."+strings.ToLower(t))
		} else {
			h.legacyTags = append(h.legacyTags, t)
		}
	}
	for _, e := range o.exceptions() {
		if m, ok := e.(map[string]any); ok && textOf(m["reason"]) != "" {
			h.falsePositives = append(h.falsePositives, textOf(m["reason"]))
		}
	}
	return h, nil
}

// conversionNotes returns what the conversion of the record loses, and what the reader can do
// about it.
func (o legacyRule) conversionNotes(categories []string) []string {
	var notes []string
	r := o.recordOrDetection()
	status := strings.ToUpper(textOf(r["deployment_status"]))
	if off := r["enabled"] == false; off || status != "PRODUCTION" && status != "" {
		why := "was switched off"
		if !off {
			why = "was " + status
		}
		ids := []string{sigmaRuleID(o.id)}
		for _, c := range categories[1:] {
			ids = append(ids, o.secondDocumentID(c))
		}
		notes = append(notes, fmt.Sprintf("it did not run, as it %s; here it does, until picket rules disable %s", why, strings.Join(ids, " ")))
	}
	for _, word := range []string{"from", "until"} {
		if v := textOf(r["effective_"+word]); v != "" {
			notes = append(notes, fmt.Sprintf("it ran %s %s; here it runs always", word, v))
		}
	}
	return notes
}

// sigmaEntries returns the entries of a Sigma rule before and after its logsource and
// detection. The second document of a rule has an id and a title of its own.
func (h metadata) sigmaEntries(o legacyRule, category string, isSecond bool) (before, after []*yaml.Node) {
	id, title := h.id, h.title
	if isSecond {
		id, title = o.secondDocumentID(category), h.title+" ("+category+")"
	}
	add := func(to *[]*yaml.Node, key string, v any) {
		switch v := v.(type) {
		case string:
			if v != "" {
				*to = append(*to, textNode(key), textNode(v))
			}
		case []string:
			if len(v) > 0 {
				*to = append(*to, textNode(key), sequenceNode(v, textNode))
			}
		}
	}
	add(&before, "title", title)
	add(&before, "id", id)
	add(&before, "status", h.status)
	add(&before, "description", h.description)
	add(&before, "references", h.references)
	add(&before, "author", h.author)
	add(&before, "date", h.date)
	add(&before, "modified", h.modified)
	add(&before, "tags", h.tags)
	custom := mappingNode(textNode("rule_id"), textNode(o.id))
	if len(h.legacyTags) > 0 {
		custom.Content = append(custom.Content, textNode("tags"), sequenceNode(h.legacyTags, textNode))
	}
	before = append(before, textNode("custom"), custom)
	add(&after, "falsepositives", h.falsePositives)
	add(&after, "level", h.level)
	return before, after
}

// secondDocumentID returns the id of a rule's second document.
func (o legacyRule) secondDocumentID(category string) string {
	return sigmaRuleID(o.id + "#" + category)
}

// textsInList returns the texts and numbers in a list.
func textsInList(v any) []string {
	all, _ := v.([]any)
	var out []string
	for _, e := range all {
		if s := textOf(e); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// sigmaRuleID returns a UUID derived from a legacy id (version 5 of RFC 9562). An id that
// is a UUID stays.
func sigmaRuleID(legacyID string) string {
	if uuidPattern.MatchString(legacyID) {
		return strings.ToLower(legacyID)
	}
	const space = "\x5b\xb3\x14\x5e\x0c\x41\x4c\x0d\x9a\x4f\x27\xd7\x33\x0e\xa8\x61"
	h := sha1.Sum([]byte(space + legacyID))
	h[6], h[8] = h[6]&0x0f|0x50, h[8]&0x3f|0x80
	x := hex.EncodeToString(h[:16])
	return x[:8] + "-" + x[8:12] + "-" + x[12:16] + "-" + x[16:20] + "-" + x[20:]
}
