package flatjson

// InternedBytes returns how many bytes the names of the interned paths take.
func (d *Decoder) InternedBytes() int { return d.internedBytes }
