package sqlitequeue

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Rates cover rateSpan. Events are counted per rateSlotDuration, to keep the table small.
const (
	rateSlotDuration = 5 * time.Second
	rateSpan         = time.Minute
)

// addToRates adds the events of this transaction to the current slot.
func (t *tx) addToRates() error {
	if t.in == 0 && t.out == 0 {
		return nil
	}
	slot := t.now / rateSlotDuration.Microseconds()
	if _, err := t.stmts.addRate.Exec(slot, t.in, t.out); err != nil {
		return wrapDBError("count rate", err)
	}
	return nil
}

// trimRates deletes slots that are older than rateSpan.
func (t *tx) trimRates() error {
	_, err := t.stmts.trimRate.Exec((t.now - rateSpan.Microseconds()) / rateSlotDuration.Microseconds())
	return wrapDBError("trim rates", err)
}

// eventsPerSecond returns the events per second, in and out, over the last minute or since
// the first event if that is more recent.
func eventsPerSecond(ctx context.Context, tx *sql.Tx, nowMicros int64) (in, out float64, err error) {
	var received, done int64
	first := nowMicros / rateSlotDuration.Microseconds()
	from := (nowMicros-rateSpan.Microseconds())/rateSlotDuration.Microseconds() + 1
	if err := tx.QueryRowContext(ctx, "SELECT ifnull(sum(received), 0), ifnull(sum(done), 0), ifnull(min(slot), ?) FROM rate WHERE slot >= ?",
		first, from).Scan(&received, &done, &first); err != nil {
		return 0, 0, fmt.Errorf("read rates: %w", err)
	}
	span := max(float64(nowMicros-first*rateSlotDuration.Microseconds())/1e6, 1)
	return float64(received) / span, float64(done) / span, nil
}
