package scanreport

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/picket-edr/picket/internal/printable"
	"github.com/picket-edr/picket/sigma"
)

// maxSummaryKeys bounds the hosts and the days of a summary; those that come after count
// as "(other)".
const maxSummaryKeys = 100_000

// A Summary counts matches.
type Summary struct {
	Matches     int64
	Duplicates  int64     // left out, see Report.WriteRows
	First, Last time.Time // of the matches with a time
	Levels      [sigma.Critical + 1]LevelSummary
	hosts, days map[string]int64
	techniques  map[string]int64
	location    *time.Location
}

// A LevelSummary counts the matches of a level.
type LevelSummary struct {
	Matches int64
	rules   map[string]*RuleCount // by id
	tactics map[string]int64
}

// A RuleCount is a rule with the number of its matches.
type RuleCount struct {
	ID    string `json:"rule_id"`
	Title string `json:"title"`
	Count int64  `json:"matches"`
}

// A NamedCount is a number of matches with a name.
type NamedCount struct {
	Name  string `json:"name"`
	Count int64  `json:"matches"`
}

func newSummary(l *time.Location) Summary {
	return Summary{hosts: make(map[string]int64), days: make(map[string]int64), techniques: make(map[string]int64), location: l}
}

func (s *Summary) add(r *row) {
	s.Matches++
	if !r.Time.IsZero() {
		if s.First.IsZero() || r.Time.Before(s.First) {
			s.First = r.Time
		}
		if r.Time.After(s.Last) {
			s.Last = r.Time
		}
		countBounded(s.days, r.Time.In(s.location).Format(time.DateOnly))
	}
	if r.Host != "" {
		countBounded(s.hosts, r.Host)
	}
	l := &s.Levels[r.Level]
	l.Matches++
	if l.rules == nil {
		l.rules, l.tactics = make(map[string]*RuleCount), make(map[string]int64)
	}
	id, title := boundedKey(r.RuleID), boundedKey(r.Title) // those of senders' alerts are theirs
	if l.rules[id] == nil && len(l.rules) >= maxSummaryKeys {
		id, title = "(other)", "(other)"
	}
	if l.rules[id] == nil {
		l.rules[id] = &RuleCount{ID: id, Title: title}
	}
	l.rules[id].Count++
	for _, t := range tactics(r.Tags) {
		countBounded(l.tactics, t)
	}
	for _, t := range techniques(r.Tags) {
		countBounded(s.techniques, t)
	}
}

// maxSummaryKeyBytes bounds a name that is counted.
const maxSummaryKeyBytes = 256

// countBounded counts a name, of which it keeps a copy within the bounds.
func countBounded(counts map[string]int64, key string) {
	key = boundedKey(key)
	if _, ok := counts[key]; !ok && len(counts) >= maxSummaryKeys {
		key = "(other)"
	}
	counts[key]++
}

// boundedKey returns a copy of a name, cut to maxSummaryKeyBytes. The name itself shares
// the bytes of its event, which need not stay.
func boundedKey(name string) string {
	return strings.ToValidUTF8(strings.Clone(name[:min(len(name), maxSummaryKeyBytes)]), "")
}

// Rules returns the number of rules that matched.
func (l *LevelSummary) Rules() int { return len(l.rules) }

// TopRules returns the rules with most matches, at most limit.
func (l *LevelSummary) TopRules(limit int) []RuleCount {
	all := make([]RuleCount, 0, len(l.rules))
	for _, r := range l.rules {
		all = append(all, *r)
	}
	slices.SortFunc(all, func(a, b RuleCount) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.ID, b.ID)) })
	return all[:min(len(all), limit)]
}

// Tactics returns the ATT&CK tactics, most matches first.
func (l *LevelSummary) Tactics() []NamedCount { return largest(l.tactics, maxSummaryKeys) }

// TopHosts returns the hosts with most matches, at most limit.
func (s *Summary) TopHosts(limit int) []NamedCount { return largest(s.hosts, limit) }

// BusiestDays returns the days with most matches, at most limit, in their order.
func (s *Summary) BusiestDays(limit int) []NamedCount {
	days := largest(s.days, limit)
	slices.SortFunc(days, func(a, b NamedCount) int { return cmp.Compare(a.Name, b.Name) })
	return days
}

func largest(counts map[string]int64, limit int) []NamedCount {
	all := make([]NamedCount, 0, len(counts))
	for name, n := range maps.All(counts) {
		all = append(all, NamedCount{name, n})
	}
	slices.SortFunc(all, func(a, b NamedCount) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name)) })
	return all[:min(len(all), limit)]
}

// How many of each a summary for people lists.
const (
	topRules = 5
	topHosts = 10
	topDays  = 14
)

// levelsDown are the levels, the highest first.
var levelsDown = []sigma.Level{sigma.Critical, sigma.High, sigma.Medium, sigma.Low, sigma.Informational}

// Write writes the summary for people.
func (s *Summary) Write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%-14s %8s %6s  %s\n", "LEVEL", "MATCHES", "RULES", "TACTICS")
	for _, level := range levelsDown {
		l := &s.Levels[level]
		var names []string
		for _, t := range l.Tactics() {
			names = append(names, fmt.Sprintf("%s %d", t.Name, t.Count))
		}
		fmt.Fprintf(&b, "%-14s %8d %6d  %s\n", level, l.Matches, l.Rules(), printable.Text(strings.Join(names, ", ")))
	}
	if s.Duplicates > 0 {
		fmt.Fprintf(&b, "%d of them are duplicates and left out of the rows\n", s.Duplicates)
	}
	if !s.First.IsZero() {
		const layout = "2006-01-02 15:04:05 MST"
		fmt.Fprintf(&b, "\nfirst %s, last %s\n", s.First.In(s.location).Format(layout), s.Last.In(s.location).Format(layout))
	}
	for _, level := range levelsDown {
		for i, r := range s.Levels[level].TopRules(topRules) {
			if i == 0 {
				fmt.Fprintf(&b, "\n%8s  rules of level %s\n", "MATCHES", level)
			}
			fmt.Fprintf(&b, "%8d  %s\n", r.Count, printable.Text(r.Title))
		}
	}
	s.writeCounts(&b, "hosts", s.TopHosts(topHosts))
	s.writeCounts(&b, "busiest days", s.BusiestDays(topDays))
	_, err := io.WriteString(w, b.String())
	return err
}

// writeCounts writes counts with a bar for each.
func (s *Summary) writeCounts(b *strings.Builder, title string, counts []NamedCount) {
	if len(counts) == 0 {
		return
	}
	highest := slices.MaxFunc(counts, func(a, b NamedCount) int { return cmp.Compare(a.Count, b.Count) }).Count
	fmt.Fprintf(b, "\n%8s  %s\n", "MATCHES", title)
	for _, c := range counts {
		fmt.Fprintf(b, "%8d  %-24s %s\n", c.Count, printable.Text(c.Name), strings.Repeat("█", int(max(1, 30*c.Count/highest))))
	}
}

// summaryJSON is a summary for programs.
type summaryJSON struct {
	Matches    int64        `json:"matches"`
	Duplicates int64        `json:"duplicates"`
	First      *time.Time   `json:"first"`
	Last       *time.Time   `json:"last"`
	Levels     []levelJSON  `json:"levels"`
	Hosts      []NamedCount `json:"hosts"`
	Days       []NamedCount `json:"days"`
	Techniques []NamedCount `json:"techniques"`
}

type levelJSON struct {
	Level   string       `json:"level"`
	Matches int64        `json:"matches"`
	Rules   []RuleCount  `json:"rules"`
	Tactics []NamedCount `json:"tactics"`
}

// JSON returns the summary for encoding/json, with at most 1,000 of each kind.
func (s *Summary) JSON() any {
	const limit = 1000
	out := summaryJSON{Matches: s.Matches, Duplicates: s.Duplicates, Hosts: s.TopHosts(limit), Days: s.BusiestDays(limit), Techniques: largest(s.techniques, limit)}
	if !s.First.IsZero() {
		out.First, out.Last = &s.First, &s.Last
	}
	for _, level := range levelsDown {
		l := &s.Levels[level]
		out.Levels = append(out.Levels, levelJSON{level.String(), l.Matches, l.TopRules(limit), l.Tactics()})
	}
	return out
}
