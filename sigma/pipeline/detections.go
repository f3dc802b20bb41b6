package pipeline

import (
	"slices"

	"github.com/picket-edr/picket/sigma/ast"
)

// cloneDetections copies a detection block down to its items, whose values are
// never changed in place.
func cloneDetections(d *ast.Detections) ast.Detections {
	c := *d
	c.Searches = slices.Clone(d.Searches)
	for i := range c.Searches {
		s := &c.Searches[i]
		s.Alternatives = slices.Clone(s.Alternatives)
		for k := range s.Alternatives {
			s.Alternatives[k] = slices.Clone(s.Alternatives[k])
		}
	}
	c.Conditions = slices.Clone(d.Conditions)
	return c
}

// finishDetections clears what items keep while a pipeline runs, and removes
// searches without items from the conditions.
func finishDetections(d *ast.Detections) *ast.Diagnostic {
	for i := range d.Searches {
		s := &d.Searches[i]
		s.Alternatives = slices.DeleteFunc(s.Alternatives, func(c ast.Conjunction) bool { return len(c) == 0 })
		for _, c := range s.Alternatives {
			clearApplied(c)
		}
	}
	var conditions []ast.Condition
	for _, c := range d.Conditions {
		if c, ok := withoutEmptySearches(c, d.Searches); ok {
			conditions = append(conditions, c)
		}
	}
	if conditions == nil {
		return ast.ErrorAt(ast.Position{}, "the pipeline leaves nothing of the detection")
	}
	d.Conditions = conditions
	return nil
}

// withoutEmptySearches returns the condition without the searches that have no
// alternatives, and whether anything is left.
func withoutEmptySearches(c ast.Condition, searches []ast.Search) (ast.Condition, bool) {
	if c.Op == ast.Ref {
		return c, len(searches[c.Index].Alternatives) > 0
	}
	var operands []ast.Condition
	for _, o := range c.Operands {
		if o, ok := withoutEmptySearches(o, searches); ok {
			operands = append(operands, o)
		}
	}
	if len(operands) == 1 && c.Op != ast.Not {
		return operands[0], true
	}
	c.Operands = operands
	return c, len(operands) > 0
}

func clearApplied(c ast.Conjunction) {
	for i := range c {
		c[i].Applied = nil
		for _, nested := range c[i].Nested {
			clearApplied(nested)
		}
	}
}
