package mongostore

// WithoutBulkWrite treats the server as one without the command bulkWrite, as before
// MongoDB 8.0.
func (o Options) WithoutBulkWrite() Options {
	o.noBulkWrite = true
	return o
}

// WithFault makes a store fail where f returns an error: before it writes to a
// collection in a transaction, or before "commit".
func (o Options) WithFault(f func(before string) error) Options {
	o.fault = f
	return o
}
