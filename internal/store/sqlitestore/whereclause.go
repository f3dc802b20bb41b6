package sqlitestore

import (
	"math"
	"strings"
)

// A whereClause builds the condition of a list.
type whereClause struct {
	terms []string
	args  []any
}

func (w *whereClause) add(term string, args ...any) {
	w.terms = append(w.terms, term)
	w.args = append(w.args, args...)
}

// addEqual adds that a column has a value, unless the value is "".
func (w *whereClause) addEqual(column, value string) {
	if value != "" {
		w.add(column+" = ?", value)
	}
}

// addBetween adds that a column is at least lo and less than hi, where those are
// bounds.
func (w *whereClause) addBetween(column string, lo, hi int64) {
	if lo > math.MinInt64 {
		w.add(column+" >= ?", lo)
	}
	if hi < math.MaxInt64 {
		w.add(column+" < ?", hi)
	}
}

// addIn adds that a column has one of some values.
func addIn[T any](w *whereClause, column string, values []T) {
	placeholders := strings.TrimSuffix(strings.Repeat("?,", len(values)), ",")
	args := make([]any, len(values))
	for i, v := range values {
		args[i] = v
	}
	w.add(column+" IN ("+placeholders+")", args...)
}

func (w *whereClause) String() string {
	if len(w.terms) == 0 {
		return "1"
	}
	return strings.Join(w.terms, " AND ")
}
