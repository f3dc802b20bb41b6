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
func (*ProcessSource) Events(context.Context, Position) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		yield(Event{}, fmt.Errorf("process source: not on %s; on Windows, forward Sysmon events: %w", runtime.GOOS, picket.ErrInvalid))
	}
}
