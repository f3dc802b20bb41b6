package sigma

import (
	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/internal/parser"
)

// Parse reads every YAML document of data; name is the file name that errors
// and documents carry. It returns the valid documents even if others are not.
// The error is a *ast.ParseError, or several joined by errors.Join if several
// documents are bad. Nothing after a YAML syntax error is read.
//
// Parse checks the structure, the names of modifiers, and conditions. Whether
// values fit their modifiers, and whether the rules that a correlation or
// filter refers to exist, is for Compile to check.
func Parse(name string, data []byte) (ast.Collection, error) { return parser.Parse(name, data) }
