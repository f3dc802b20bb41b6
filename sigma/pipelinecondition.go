package sigma

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// readAddCondition joins a search to every condition of a rule. Filters don't
// get it: the rules that they are for do.
func readAddCondition(s *spec, _ string) transformation {
	name, template, negated := s.text("name", false), s.flag("template"), s.flag("negated")
	kv, ok := s.take("conditions")
	if !ok {
		s.fail(placeOf(s.node), "add_condition lacks conditions")
		return transformation{}
	}
	search, err := s.alternative(kv.value)
	if err == nil && kv.value.Kind != yaml.MappingNode {
		err = at(kv.value, "conditions must be a mapping")
	}
	s.note(err)
	return transformation{func(r *pipelineRun, p *processingItem) *lineError {
		if r.kind != RuleDocument {
			return nil
		}
		all := make(allOf, len(search))
		copy(all, search)
		for i := range all {
			if template {
				all[i] = all[i].filled(*r.source)
			}
			p.mark(&all[i])
		}
		r.added++
		d := detection{name: name, place: p.place, alternatives: []allOf{all}}
		if name == "" {
			d.name = fmt.Sprintf("_cond_%d", r.added)
		}
		r.search.detections = append(r.search.detections, d)
		added := condition{detection: len(r.search.detections) - 1}
		if negated {
			added = condition{op: condNot, kids: []condition{added}}
		}
		for i, c := range r.search.conditions {
			r.search.conditions[i] = condition{op: condAnd, kids: []condition{added, c}}
		}
		return nil
	}}
}

// filled puts the parts of a logsource in the place of $product and so on.
func (it item) filled(l LogSource) item {
	var pairs []string
	for name, value := range map[string]string{"category": l.Category, "product": l.Product, "service": l.Service} {
		value = pattern{{literal, value}}.written(false)
		pairs = append(pairs, "${"+name+"}", value, "$"+name, value)
	}
	replace := strings.NewReplacer(append([]string{"$$", "$"}, pairs...)...)
	values := make([]scalar, len(it.values))
	for i, v := range it.values {
		if v.kind == String {
			v.text = replace.Replace(v.text)
		}
		values[i] = v
	}
	it.values = values
	return it
}
