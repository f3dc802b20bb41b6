package detect

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/picket-edr/picket/sigma"
)

// ErrPipeline is the kind of the errors of Load that are about a pipeline.
var ErrPipeline = errors.New("read pipeline")

// readPipelines reads the pipelines among the sources, as one; w gets what
// names them by their content.
func readPipelines(sources []Source, w io.Writer) (*sigma.Pipeline, error) {
	var all []*sigma.Pipeline
	for _, s := range sources {
		if !s.Pipeline {
			continue
		}
		data, err := readFile(os.DirFS(filepath.Dir(s.Name)), filepath.Base(s.Name))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrPipeline, err)
		}
		fmt.Fprintf(w, "%s\x00%d\x00%s", s.Name, len(data), data)
		p, err := sigma.ParsePipeline(s.Name, data)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrPipeline, err)
		}
		all = append(all, p)
	}
	return sigma.JoinPipelines(all...), nil
}

// through applies the pipelines to what was read, and keeps what they fail on
// as problems.
func (set *Set) through(p *sigma.Pipeline, pack sigma.Pack) sigma.Pack {
	pack, errs := p.Apply(pack)
	for _, err := range errs {
		set.Problems = append(set.Problems, problems("", err)...)
	}
	return pack
}
