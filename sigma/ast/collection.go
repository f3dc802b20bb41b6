package ast

// A Collection holds the documents of rule files, in the order of the files.
type Collection struct {
	Rules        []*Rule
	Correlations []*Correlation
	Filters      []*Filter
}

// Add appends the documents of other.
func (c *Collection) Add(other Collection) {
	c.Rules = append(c.Rules, other.Rules...)
	c.Correlations = append(c.Correlations, other.Correlations...)
	c.Filters = append(c.Filters, other.Filters...)
}
