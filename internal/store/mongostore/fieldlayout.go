package mongostore

import (
	"encoding/binary"
	"errors"
	"strings"

	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/sigma"
)

// A field layout says how the Fields of an event follow from the leaves of its
// JSON, so that most fields take a few bytes. It is a list of:
//
//	layoutFromLeaf   leaf, n         n leaves beginning with leaf, under their own names
//	layoutCutLeaf    leaf, n         a leaf, under its name without the first n bytes
//	layoutRenamedLeaf  leaf, name      a leaf under another name
//	literal    kind, name      the next of the literals beside the layout
//
// Each is its code as a byte, followed by numbers as uvarints; a name is its
// length and its bytes. Without a layout, Fields are the leaves.
const (
	layoutFromLeaf = iota
	layoutCutLeaf
	layoutRenamedLeaf
	layoutLiteral
	layoutNoFields // the only code: there are leaves, but no fields
)

func encodeFields(leaves []flatjson.Leaf, fields []sigma.Field) (layout []byte, literals []string) {
	if len(fields) == 0 && len(leaves) > 0 {
		return []byte{layoutNoFields}, nil
	}
	var index flatjson.LeafIndex
	index.Reset(leaves)
	at := 0
	for i := 0; i < len(fields); {
		f := &fields[i]
		leaf := findLeaf(leaves, &index, at, f)
		if leaf < 0 {
			layout = append(layout, layoutLiteral, byte(f.Value.Kind))
			layout = appendSizedName(layout, f.Name)
			text := f.Value.Text
			if f.Value.Kind == sigma.Null {
				text = "null" // as searches see it
			}
			literals = append(literals, text)
			i++
			continue
		}
		n := 0
		for i+n < len(fields) && leaf+n < len(leaves) && leaves[leaf+n].Path.Name == fields[i+n].Name && leaves[leaf+n].Value == fields[i+n].Value {
			n++
		}
		switch name := leaves[leaf].Path.Name; {
		case n == len(fields) && n == len(leaves):
			return nil, nil
		case n > 0:
			layout = binary.AppendUvarint(append(layout, layoutFromLeaf), uint64(leaf))
			layout = binary.AppendUvarint(layout, uint64(n))
		case strings.HasSuffix(name, f.Name):
			layout = binary.AppendUvarint(append(layout, layoutCutLeaf), uint64(leaf))
			layout = binary.AppendUvarint(layout, uint64(len(name)-len(f.Name)))
		default:
			layout = appendSizedName(binary.AppendUvarint(append(layout, layoutRenamedLeaf), uint64(leaf)), f.Name)
		}
		n = max(n, 1)
		i += n
		at = leaf + n
	}
	return layout, literals
}

// findLeaf returns a leaf that has a field's value, or -1, preferably one that has
// its name too. It searches from a position on, then before it: fields are mostly
// in the order of the leaves.
func findLeaf(leaves []flatjson.Leaf, index *flatjson.LeafIndex, at int, f *sigma.Field) int {
	if at < len(leaves) && leaves[at].Value == f.Value && leaves[at].Path.Name == f.Name {
		return at
	}
	if named := index.FindNamedWrapping(at, f.Name, f.Value); named >= 0 {
		return named
	}
	return index.FindWrapping(at, f.Value)
}

func appendSizedName(b []byte, name string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(name))), name...)
}

var errLayout = errors.New("its field layout is damaged")

func decodeFields(leaves []flatjson.Leaf, layout []byte, literals []string) ([]sigma.Field, error) {
	if layout == nil {
		out := make([]sigma.Field, len(leaves))
		for i := range leaves {
			out[i] = sigma.Field{Name: leaves[i].Path.Name, Value: leaves[i].Value}
		}
		return out, nil
	}
	if len(layout) == 1 && layout[0] == layoutNoFields {
		return nil, nil
	}
	r := layoutReader{b: layout}
	var out []sigma.Field
	for len(r.b) > 0 && !r.bad {
		code := r.readNumber(layoutLiteral + 1)
		if code == layoutLiteral {
			f := sigma.Field{Value: sigma.Value{Kind: sigma.Kind(r.readNumber(int(sigma.Bool) + 1))}, Name: r.readName()}
			if len(literals) == 0 {
				return nil, errLayout
			}
			if f.Value.Kind != sigma.Null {
				f.Value.Text = literals[0]
			}
			literals = literals[1:]
			out = append(out, f)
			continue
		}
		leaf := r.readNumber(len(leaves))
		if r.bad {
			break
		}
		name := leaves[leaf].Path.Name
		switch code {
		case layoutFromLeaf:
			for i := range r.readNumber(len(leaves) - leaf + 1) {
				out = append(out, sigma.Field{Name: leaves[leaf+i].Path.Name, Value: leaves[leaf+i].Value})
			}
		case layoutCutLeaf:
			out = append(out, sigma.Field{Name: name[r.readNumber(len(name)+1):], Value: leaves[leaf].Value})
		case layoutRenamedLeaf:
			out = append(out, sigma.Field{Name: r.readName(), Value: leaves[leaf].Value})
		}
	}
	if r.bad {
		return nil, errLayout
	}
	return out, nil
}

// A layoutReader reads a field layout. After the first error everything reads as
// zero.
type layoutReader struct {
	b   []byte
	bad bool
}

// readNumber reads a number that must be below a limit.
func (r *layoutReader) readNumber(limit int) int {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v >= uint64(limit) {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return int(v)
}

func (r *layoutReader) readName() string {
	n := r.readNumber(len(r.b) + 1)
	if n > len(r.b) {
		r.b, r.bad = nil, true
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}
