package web

import (
	"net/http"
	"strings"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/internal/store"
)

// maxRulesShown bounds the rules on the page; a search finds the others.
const maxRulesShown = 200

type rulesView struct {
	Text              string
	Rules             []ruleRow
	Enabled, Disabled ruleset.KindCounts
	Hidden            int // rules found but not shown
	Problems          []ruleset.Problem
	Revision          string
	Loaded            time.Time
	CanAct            bool
}

type ruleRow struct {
	ruleset.RuleInfo
	Enabled bool
}

func (c *Console) rules(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	set, loaded := c.Rules.Status()
	on, off := c.Rules.List()
	v := rulesView{Text: r.URL.Query().Get("q"), Enabled: ruleset.CountKinds(on), Disabled: ruleset.CountKinds(off), Problems: set.Problems, Revision: set.Revision,
		Loaded: loaded, CanAct: who.HasRole(auth.RoleAnalyst)}
	add := func(rules []ruleset.RuleInfo, on bool) {
		for _, rule := range rules {
			text := strings.ToLower(rule.Title + "\n" + rule.ID + "\n" + strings.Join(rule.Tags, "\n") + "\n" + rule.Level.String())
			if !strings.Contains(text, strings.ToLower(v.Text)) {
				continue
			}
			if len(v.Rules) == maxRulesShown {
				v.Hidden++
				continue
			}
			v.Rules = append(v.Rules, ruleRow{rule, on})
		}
	}
	add(off, false)
	add(on, true)
	return c.render(w, http.StatusOK, "rules.html", pageData{Title: "Rules", Section: "rules", Who: who, Page: v})
}

type ruleView struct {
	ruleset.RuleDetails
	Hits   store.RuleHits
	Newest []picket.Alert
	CanAct bool
}

// rulePage shows a rule with its text, the filters that apply to it, and what it has
// found.
func (c *Console) rulePage(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	d, err := c.Rules.Details(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	v := ruleView{RuleDetails: d, CanAct: who.HasRole(auth.RoleAnalyst)}
	if v.Hits, err = store.CountRuleHits(r.Context(), c.Store, d.ID); err != nil {
		return err
	}
	page, err := c.Store.Alerts(r.Context(), store.AlertQuery{RuleID: d.ID, Limit: 10})
	if err != nil {
		return err
	}
	v.Newest = page.Alerts
	return c.render(w, http.StatusOK, "rule.html", pageData{Title: d.Title, Section: "rules", Who: who, Page: v})
}

// rule returns a rule by id, enabled or not, or nil. The rule of an old alert may
// no longer exist.
func (c *Console) rule(id string) *ruleset.RuleInfo {
	on, off := c.Rules.List()
	for _, rules := range [][]ruleset.RuleInfo{on, off} {
		for _, r := range rules {
			if r.ID == id {
				return &r
			}
		}
	}
	return nil
}

func (c *Console) setRuleEnabled(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	if err := r.ParseForm(); err != nil {
		return httpapi.Errorf(http.StatusBadRequest, "read the form: %v", err)
	}
	if err := c.Triage.SetRuleEnabled(r.Context(), who, r.PathValue("id"), r.PostForm.Get("on") == "true"); err != nil {
		return err
	}
	to := "/console/rules"
	if r.PostForm.Get("from") == "rule" {
		to = r.URL.EscapedPath()
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}
