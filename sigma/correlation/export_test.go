package correlation

// Steps returns how many steps of work the Correlator has made.
func (c *Correlator) Steps() int64 { return c.steps }
