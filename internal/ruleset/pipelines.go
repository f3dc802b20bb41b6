package ruleset

import (
	"errors"
	"fmt"

	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/pipeline"
)

// ErrPipeline is the kind of errors of Load that concern a pipeline.
var ErrPipeline = errors.New("read pipeline")

// parsePipelines parses the pipelines among the files and joins them.
func parsePipelines(files []ruleFile) (*pipeline.Pipeline, error) {
	var all []*pipeline.Pipeline
	for _, f := range files {
		if !f.Pipeline {
			continue
		}
		p, err := pipeline.Parse(f.Name, f.Data)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrPipeline, err)
		}
		all = append(all, p)
	}
	return pipeline.Join(all...), nil
}

// applyPipelines applies pipelines to the documents. Failures become problems.
func (set *LoadedRules) applyPipelines(p *pipeline.Pipeline, collection ast.Collection) ast.Collection {
	collection, errs := p.Apply(collection)
	for _, err := range errs {
		set.Problems = append(set.Problems, problemsOf("", err)...)
	}
	return collection
}
