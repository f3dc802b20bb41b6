package store

// MaxTypesPerMinute is how many event types are counted by name in a minute. The events
// of further types are counted as OtherTypesName, so that senders of many types make no
// large documents and pages.
const (
	MaxTypesPerMinute = 200
	OtherTypesName    = "(other)"
)

// A MinuteCount counts the events of a type that were received in a minute.
type MinuteCount struct {
	Minute int64
	Type   string
	N      int64
}

// A MinuteCounter counts events by minute and type. The zero value is empty.
type MinuteCounter struct {
	Counts []MinuteCount
	index  map[minuteType]int // in Counts
	types  map[int64]int      // by minute
}

type minuteType struct {
	minute    int64
	eventType string
}

// Add counts an event.
func (t *MinuteCounter) Add(minute int64, eventType string) {
	if n := len(t.Counts); n > 0 && t.Counts[n-1].Minute == minute && t.Counts[n-1].Type == eventType { // likely
		t.Counts[n-1].N++
		return
	}
	if t.index == nil {
		t.index, t.types = make(map[minuteType]int), make(map[int64]int)
	}
	key := minuteType{minute, eventType}
	at, ok := t.index[key]
	if !ok && t.types[minute] >= MaxTypesPerMinute {
		key.eventType = OtherTypesName
		at, ok = t.index[key]
	}
	if !ok {
		at = len(t.Counts)
		t.index[key] = at
		t.types[minute]++
		t.Counts = append(t.Counts, MinuteCount{Minute: minute, Type: key.eventType})
	}
	t.Counts[at].N++
}
