package mongostore

// WithFault has a store fail where f says, before a write: of "batches",
// "step", a collection, "applied" or "done".
func (o Options) WithFault(f func(before string) error) Options {
	o.fault = f
	return o
}
