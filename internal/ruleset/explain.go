package ruleset

import (
	"fmt"
	"slices"
	"strings"

	"github.com/picket-edr/picket/internal/normalize"
	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/ast"
)

// An Explanation says, part by part, why a rule matches an event or what does not hold.
type Explanation struct {
	RuleID       string               `json:"rule_id"`
	Title        string               `json:"title"`
	Matches      bool                 `json:"matches"`
	LogSource    LogSourceExplanation `json:"logsource"`
	Conditions   []ConditionExplained `json:"conditions"`
	Searches     []SearchExplained    `json:"searches"`
	MissingNames []string             `json:"missing_fields"` // fields of the rule that the event does not have
}

// A LogSourceExplanation compares the logsource of a rule with those of an event.
type LogSourceExplanation struct {
	Holds bool     `json:"holds"`
	Rule  string   `json:"rule"`
	Event []string `json:"event"`
}

// A ConditionExplained is a condition of a rule.
type ConditionExplained struct {
	Text  string `json:"text"`
	Holds bool   `json:"holds"`
}

// A SearchExplained is a search of a rule. It holds if any of its alternatives does.
type SearchExplained struct {
	Name         string            `json:"name"`
	Holds        bool              `json:"holds"`
	Alternatives [][]ItemExplained `json:"alternatives"`
}

// An ItemExplained is a comparison in a search.
type ItemExplained struct {
	Field       string           `json:"field"` // with modifiers; "keywords" for those
	Holds       bool             `json:"holds"`
	EventValues []string         `json:"event_values"` // of the field
	Values      []ValueExplained `json:"values"`
}

// A ValueExplained is a value of the rule, and whether the event has it.
type ValueExplained struct {
	Text  string `json:"text"`
	Holds bool   `json:"holds"`
}

// Explain explains a rule of the effective ones on an event. Filters are left out: they
// are rules' parts of their own.
func Explain(r *ast.Rule, ev *normalize.Event) (Explanation, error) {
	x := explainer{sources: ev.Class.Sources, fields: ev.Fields(nil)}
	out := Explanation{RuleID: r.ID, Title: r.Title, LogSource: LogSourceExplanation{Rule: r.LogSource.String()}, MissingNames: []string{}}
	for _, s := range ev.Class.Sources {
		out.LogSource.Event = append(out.LogSource.Event, s.String())
	}
	for i := range r.Detections.Searches {
		s, err := x.search(&r.Detections.Searches[i])
		if err != nil {
			return Explanation{}, fmt.Errorf("explain rule %s: %w", r.ID, err)
		}
		out.Searches = append(out.Searches, s)
	}
	for i := range r.Detections.Conditions {
		c := ConditionExplained{Text: r.Detections.ConditionTexts[min(i, len(r.Detections.ConditionTexts)-1)].Text}
		c.Holds = r.Detections.Conditions[i].Eval(func(search int) bool { return out.Searches[search].Holds })
		out.Conditions = append(out.Conditions, c)
	}
	var err error
	if out.LogSource.Holds, err = x.logSourceHolds(r.LogSource); err != nil {
		return Explanation{}, err
	}
	for it := range r.Detections.TopLevelItems() {
		if it.Field != "" && len(x.values(it.Field)) == 0 && !slices.Contains(out.MissingNames, it.Field) {
			out.MissingNames = append(out.MissingNames, it.Field)
		}
	}
	out.Matches = out.LogSource.Holds && slices.ContainsFunc(out.Conditions, func(c ConditionExplained) bool { return c.Holds })
	return out, nil
}

// An explainer evaluates parts of a rule, each as a rule of its own, so that the engine
// itself decides.
type explainer struct {
	sources []sigma.LogSource
	fields  []sigma.Field
}

func (x *explainer) search(s *ast.Search) (SearchExplained, error) {
	holds, err := x.holds(sigma.LogSource{}, s.Alternatives)
	out := SearchExplained{Name: s.Name, Holds: holds, Alternatives: [][]ItemExplained{}}
	for _, all := range s.Alternatives {
		items := []ItemExplained{}
		for i := range all {
			if err != nil {
				return out, err
			}
			var item ItemExplained
			item, err = x.item(&all[i])
			items = append(items, item)
		}
		out.Alternatives = append(out.Alternatives, items)
	}
	return out, err
}

func (x *explainer) item(it *ast.DetectionItem) (ItemExplained, error) {
	out := ItemExplained{Field: "keywords", EventValues: x.values(it.Field), Values: []ValueExplained{}}
	if it.Field != "" {
		out.Field = it.Field
	}
	out.Field = strings.Join(append([]string{out.Field}, it.Modifiers...), "|")
	var err error
	if out.Holds, err = x.holds(sigma.LogSource{}, []ast.Conjunction{{*it}}); err != nil {
		return out, err
	}
	for _, v := range it.Values {
		one := *it
		one.Values = []ast.Scalar{v}
		one.Modifiers = slices.DeleteFunc(slices.Clone(it.Modifiers), func(m string) bool { return m == "all" })
		holds, err := x.holds(sigma.LogSource{}, []ast.Conjunction{{one}})
		if err != nil {
			return out, err
		}
		text := v.Text
		if v.Kind == ast.Null {
			text = "null"
		}
		out.Values = append(out.Values, ValueExplained{text, holds})
	}
	return out, nil
}

// values returns the values that the event has in a field.
func (x *explainer) values(field string) []string {
	values := []string{}
	for i := range x.fields {
		if f := &x.fields[i]; field != "" && f.Name == field {
			values = append(values, f.Value.Text)
		}
	}
	return values
}

// logSourceHolds reports whether rules of a logsource see the event.
func (x *explainer) logSourceHolds(l sigma.LogSource) (bool, error) {
	rs, err := compileSearch(l, []ast.Conjunction{{{Keyword: true, Values: []ast.Scalar{{Kind: ast.String, Text: "*"}}}}})
	return err == nil && len(rs.Group(x.sources...).Rules()) > 0, err
}

// holds reports whether a search with the alternatives holds for the event.
func (x *explainer) holds(l sigma.LogSource, alternatives []ast.Conjunction) (bool, error) {
	rs, err := compileSearch(l, alternatives)
	if err != nil {
		return false, err
	}
	return len(sigma.NewMatcher().Match(rs.Group(x.sources...), x.fields, nil)) > 0, nil
}

// compileSearch compiles a rule with one search.
func compileSearch(l sigma.LogSource, alternatives []ast.Conjunction) (*sigma.RuleSet, error) {
	r := &ast.Rule{Meta: ast.Meta{ID: "part", Title: "part", Level: sigma.Medium}, LogSource: l,
		Detections: ast.Detections{Searches: []ast.Search{{Name: "part", Alternatives: alternatives}}, Conditions: []ast.Condition{{Op: ast.Ref}}}}
	rs, errs := sigma.Compile(ast.Collection{Rules: []*ast.Rule{r}}, sigma.Options{})
	if len(errs) > 0 {
		return nil, errs[0]
	}
	return rs, nil
}
