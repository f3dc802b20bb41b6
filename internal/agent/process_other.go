//go:build !linux

package agent

import (
	"context"
	"fmt"
	"iter"
	"runtime"

	"github.com/picket-edr/picket"
)

// Events implements Source.
func (*Process) Events(context.Context) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		yield(nil, fmt.Errorf("process source: not on %s; on Windows, forward Sysmon events: %w", runtime.GOOS, picket.ErrInvalid))
	}
}
