package block

import (
	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/flatjson"
)

// EventsWithFields returns the events of blocks with their Fields.
func (in *MergeInput) EventsWithFields() []picket.Event {
	var dec flatjson.Decoder
	for i := range in.events {
		leaves, _, err := dec.Leaves(in.events[i].Raw, nil)
		if err != nil {
			leaves = nil
		}
		in.events[i].Fields = in.layouts[i].appendFields(nil, in.layoutRows[i], leaves)
	}
	return in.events
}
