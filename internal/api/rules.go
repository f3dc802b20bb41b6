package api

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/rulecoverage"
	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/internal/store"
)

// rules lists the rules, correlations and filters, those that are enabled first.
func (s *Server) rules(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	q := queryParams{Values: r.URL.Query()}
	limit, start := q.pageLimit(), q.cursorNumber()
	state := q.Get("enabled")
	if q.Has("enabled") && state != "true" && state != "false" {
		q.recordError("enabled", state, "true or false")
	}
	if q.err != nil {
		return q.err
	}
	text := strings.ToLower(q.Get("text"))
	set, _ := s.Rules.Status()
	problems := []ruleset.Problem{}
	for _, p := range set.Problems {
		if len(problems) < limit && strings.Contains(strings.ToLower(p.String()+"\n"+p.RuleID), text) {
			problems = append(problems, p)
		}
	}
	page, next, n := []ruleset.RuleSummary{}, "", int64(0)
	add := func(list []ruleset.RuleInfo, enabled bool) {
		if state != "" && (state == "true") != enabled {
			return
		}
		for _, rule := range list {
			if !strings.Contains(strings.ToLower(strings.Join([]string{rule.Title, rule.ID, rule.Level.String(), strings.Join(rule.Tags, " ")}, "\n")), text) {
				continue
			}
			switch n++; {
			case n <= start:
			case len(page) < limit:
				page = append(page, rule.Summary(enabled))
			case next == "":
				next = strconv.FormatInt(n-1, 10)
			}
		}
	}
	add(set.Enabled, true)
	add(set.Disabled, false)
	return httpapi.WriteJSON(w, http.StatusOK, map[string]any{"rules": page, "problems": problems, "next": cursorOrNull(next)})
}

// rule returns a rule with its text, its filters and what it has found.
func (s *Server) rule(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	d, err := s.Rules.Details(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	hits, err := store.CountRuleHits(r.Context(), s.Store, d.ID)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, struct {
		ruleset.RuleDetails
		Hits store.RuleHits `json:"hits"`
	}{d, hits})
}

// ruleCoverage says which rules can fire on the events since a time, by default those
// of the last seven days.
func (s *Server) ruleCoverage(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	q := queryParams{Values: r.URL.Query()}
	since := q.timeParam("since", s.Now())
	if q.err != nil {
		return q.err
	}
	if since.IsZero() {
		since = s.Now().Add(-7 * 24 * time.Hour)
	}
	set, _ := s.Rules.Status()
	report, err := rulecoverage.Measure(r.Context(), s.Store, &set, since)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, report)
}
