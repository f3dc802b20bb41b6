package pipeline

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/internal/parser"
	"github.com/picket-edr/picket/sigma/internal/pattern"
	"github.com/picket-edr/picket/sigma/internal/yamldoc"
)

// readAddCondition reads add_condition, which joins a search to each condition
// of a rule. Filters do not get it: the rules that they apply to do.
func readAddCondition(r *mapReader, _ string) transformFunc {
	name, isTemplate, negated := r.text("name", false), r.flag("template"), r.flag("negated")
	kv, ok := r.take("conditions")
	if !ok {
		r.fail(yamldoc.PositionOf(r.node), "add_condition lacks conditions")
		return transformFunc{}
	}
	items, err := parser.ParseConjunction(r.Reader, kv.Value)
	if err == nil && kv.Value.Kind != yaml.MappingNode {
		err = yamldoc.ErrorAt(kv.Value, "conditions must be a mapping")
	}
	r.recordError(err)
	return transformFunc{func(st *applyState, p *processingItem) *ast.Diagnostic {
		if st.kind != ast.RuleDocument {
			return nil
		}
		all := make(ast.Conjunction, len(items))
		copy(all, items)
		for i := range all {
			if isTemplate {
				all[i] = fillTemplate(all[i], *st.source)
			}
			p.markApplied(&all[i])
		}
		st.added++
		s := ast.Search{Name: name, Position: p.Position, Alternatives: []ast.Conjunction{all}}
		if name == "" {
			s.Name = fmt.Sprintf("_cond_%d", st.added)
		}
		st.detections.Searches = append(st.detections.Searches, s)
		added := ast.Condition{Index: len(st.detections.Searches) - 1}
		if negated {
			added = ast.Condition{Op: ast.Not, Operands: []ast.Condition{added}}
		}
		for i, c := range st.detections.Conditions {
			st.detections.Conditions[i] = ast.Condition{Op: ast.And, Operands: []ast.Condition{added, c}}
		}
		return nil
	}}
}

// fillTemplate replaces $product, ${product} and so on in the values by the
// parts of a logsource.
func fillTemplate(it ast.DetectionItem, l ast.LogSource) ast.DetectionItem {
	var pairs []string
	for name, value := range map[string]string{"category": l.Category, "product": l.Product, "service": l.Service} {
		value = pattern.FromLiteral(value).Source(false)
		pairs = append(pairs, "${"+name+"}", value, "$"+name, value)
	}
	replace := strings.NewReplacer(append([]string{"$$", "$"}, pairs...)...)
	values := make([]ast.Scalar, len(it.Values))
	for i, v := range it.Values {
		if v.Kind == ast.String {
			v.Text = replace.Replace(v.Text)
		}
		values[i] = v
	}
	it.Values = values
	return it
}
