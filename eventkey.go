package picket

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"
)

// namespaceLen is the length of a namespace: 96 bits in base64.
const namespaceLen = 16

// eventKeySeparator is between the two parts of a key. The intake accepts no id that
// contains it.
const eventKeySeparator = "\x1f"

// Namespace returns the namespace in which the event's ID is unique: 16 characters
// that stand for Sender, AgentID and Index. So no sender can take the id of an event
// of another. It is "" if the event has no Sender; the ID alone then identifies it.
func (e *Event) Namespace() string {
	if e.Sender == "" {
		return ""
	}
	var stack [256]byte
	p := stack[:0]
	for _, part := range [...]string{e.Sender, e.AgentID, e.Index} {
		p = binary.AppendUvarint(p, uint64(len(part)))
		p = append(p, part...)
	}
	sum := sha256.Sum256(p)
	return base64.RawURLEncoding.EncodeToString(sum[:namespaceLen*6/8])
}

// Key returns what identifies the event among all events.
func (e *Event) Key() string { return EventKey(e.ID, e.Namespace()) }

// EventKey returns the key of the event with an id in a namespace. An event without
// a namespace has its id as its key.
func EventKey(eventID, namespace string) string {
	if namespace == "" {
		return eventID
	}
	return eventID + eventKeySeparator + namespace
}

// EventIDFromKey returns the id of the event with a key in a namespace.
func EventIDFromKey(eventKey, namespace string) string {
	if namespace == "" {
		return eventKey
	}
	return strings.TrimSuffix(eventKey, eventKeySeparator+namespace)
}

// EventKeyRange returns the bounds between which the keys of all events with an id
// are, except that of the event without a namespace.
func EventKeyRange(eventID string) (after, before string) {
	return eventID + eventKeySeparator, eventID + string(eventKeySeparator[0]+1)
}
