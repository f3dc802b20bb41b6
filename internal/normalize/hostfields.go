package normalize

import (
	"slices"
	"strings"

	"github.com/picket-edr/picket/internal/flatjson"
)

// HostFields returns the Sigma names of the fields in which events of any format have
// the name of their host, sorted.
func HostFields() []string {
	var names []string
	for i := range formats {
		for _, path := range formats[i].hostPaths {
			names = append(names, formats[i].fieldNamesOf(&flatjson.Path{Name: path, Key: path[strings.LastIndexByte(path, '.')+1:]})...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
