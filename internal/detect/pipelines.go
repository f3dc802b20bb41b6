package detect

import (
	"errors"
	"fmt"

	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/pipeline"
)

// ErrPipeline is the kind of the errors of Load that are about a pipeline.
var ErrPipeline = errors.New("read pipeline")

// parsePipelines reads the pipelines among the files, as one.
func parsePipelines(files []file) (*pipeline.Pipeline, error) {
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

// through applies the pipelines to what was read, and keeps what they fail on
// as problems.
func (set *Set) through(p *pipeline.Pipeline, pack ast.Collection) ast.Collection {
	pack, errs := p.Apply(pack)
	for _, err := range errs {
		set.Problems = append(set.Problems, problems("", err)...)
	}
	return pack
}
