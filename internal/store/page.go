package store

import "github.com/picket-edr/picket"

// MaxPageBytes bounds a page of a list, whatever its limit: a page ends before the
// row that would exceed it, and its Next continues there. A page has at least one
// row.
const MaxPageBytes = 4 << 20

// A PageBudget is what a page of a list may still take.
type PageBudget struct {
	rows, bytes int
	begun       bool
}

// NewPageBudget returns the budget of a page of up to maxRows rows.
func NewPageBudget(maxRows int) PageBudget { return PageBudget{rows: maxRows, bytes: MaxPageBytes} }

// Take takes a row of size bytes from the budget. It returns false if the row does
// not fit, so that the page has ended.
func (b *PageBudget) Take(size int) bool {
	if b.rows <= 0 || size > b.bytes && b.begun {
		return false
	}
	b.rows--
	b.bytes -= size
	b.begun = true
	return true
}

// rowOverheadBytes is what a row takes besides its strings.
const rowOverheadBytes = 256

// EventSize is about how many bytes of memory an event takes.
func EventSize(ev *picket.Event) (memoryBytes int) {
	n := rowOverheadBytes + len(ev.ID) + len(ev.Sender) + len(ev.Index) + len(ev.AgentID) + len(ev.Host) + len(ev.Type) + len(ev.Raw)
	for i := range ev.Fields {
		n += 40 + len(ev.Fields[i].Name) + len(ev.Fields[i].Value.Text)
	}
	return n
}

// jsonBytesPerTextByte is how many bytes of JSON a byte of a text can take, as \u0001 does. Texts
// that are answered as JSON count as such.
const jsonBytesPerTextByte = 6

// ListedAlertSize is about how many bytes an alert takes in a list, in memory and as JSON.
func ListedAlertSize(a *picket.Alert) int {
	n := len(a.RuleID) + len(a.Title) + len(a.AgentID) + len(a.Host) + len(a.Assignee)
	for _, tag := range a.Tags {
		n += 4 + len(tag)
	}
	for _, note := range a.Notes {
		n += 16 + len(note.Author) + len(note.Text)
	}
	return rowOverheadBytes + jsonBytesPerTextByte*n
}

// MatchSize is about how many bytes of memory a match takes.
func MatchSize(m *picket.Match) (memoryBytes int) {
	n := rowOverheadBytes + len(m.ID) + len(m.RuleID) + len(m.AlertID) + len(m.EventID) + len(m.AgentID)
	for i := range m.Why {
		n += 64 + len(m.Why[i].Field) + len(m.Why[i].Value)
	}
	return n
}

// ListedMatchSize is about how many bytes a match takes in a list, in memory and as JSON.
func ListedMatchSize(m *picket.Match) int {
	n := len(m.RuleID) + len(m.EventID) + len(m.AgentID)
	for i := range m.Why {
		n += 16 + len(m.Why[i].Field) + len(m.Why[i].Value)
	}
	return rowOverheadBytes + jsonBytesPerTextByte*n
}

// ListedHostSize is about how many bytes a host takes in a list, in memory and as JSON.
func ListedHostSize(h *Host) int {
	return rowOverheadBytes + jsonBytesPerTextByte*(len(h.Name)+len(h.AgentID)+len(h.OS))
}
