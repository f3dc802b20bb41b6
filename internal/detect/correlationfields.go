package detect

import (
	"slices"
	"strings"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/normalize"
	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/correlation"
)

// fieldsDefaultingToHost are fields that hold the host in some formats. Correlations group
// by them, so an event without the field has its host under that name.
var fieldsDefaultingToHost = []string{normalize.HostField, "Computer", "ComputerName", "Hostname", "HostName", "hostname", "host.name", "host"}

// correlationFieldValues returns the values of the fields that correlations need of an
// event, as correlation.ShortenValue shortens them; nil if they need none.
func correlationFieldValues(ev *picket.Event, names []string) map[string]string {
	if names == nil {
		return nil
	}
	values := make(map[string]string, len(names))
	for _, name := range names {
		i := slices.IndexFunc(ev.Fields, func(f sigma.Field) bool { return f.Name == name && f.Value.Kind != sigma.Null })
		switch {
		case i >= 0 && name != normalize.HostField:
			values[name] = strings.Clone(correlation.ShortenValue(ev.Fields[i].Value.Text))
		case ev.Host != "" && slices.Contains(fieldsDefaultingToHost, name):
			values[name] = ev.Host
		}
	}
	return values
}
