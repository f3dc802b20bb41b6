package worker

import "bytes"

// fieldMemoryBytes is what a field takes in memory, in bytes, with what growing slices waste.
const fieldMemoryBytes = 64

// eventMemoryBytes is at least what the fields of an event take in memory. Between two values
// of its JSON is a comma, and in each field of a text is an equals sign, so it needs
// not parse the event.
func eventMemoryBytes(raw []byte) int {
	return len(raw) + fieldMemoryBytes*(1+bytes.Count(raw, []byte{','})+bytes.Count(raw, []byte{'='}))
}
