package mongostore

import "time"

// WithFault makes a store fail where f returns an error: before it writes
// "batches", "step", a collection, "applied" or "done".
func (o Options) WithFault(f func(before string) error) Options {
	o.fault = f
	return o
}

// WithTakeoverDelay sets how long a step of another process may take.
func (o Options) WithTakeoverDelay(d time.Duration) Options {
	o.takeoverDelay = d
	return o
}
