package mongostore

import (
	"encoding/binary"
	"errors"
	"strings"

	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/sigma"
)

// Fields are kept as a recipe over the leaves of the event's bytes, so that
// most of them cost a few bytes:
//
//	fromLeaf   leaf, n         n leaves from that on, under their own names
//	cutLeaf    leaf, n         a leaf, its name without the first n bytes
//	namedLeaf  leaf, name      a leaf under another name
//	literal    kind, name      the next of the texts kept beside the recipe
//
// each its code as a byte, then numbers as uvarint and the name as its length
// and bytes. No recipe at all says that Fields are the leaves.
const (
	fromLeaf = iota
	cutLeaf
	namedLeaf
	literal
	noFields // alone: there are none, though there are leaves
)

func encodeFields(leaves []flatjson.Leaf, fields []sigma.Field) (recipe []byte, more []string) {
	if len(fields) == 0 && len(leaves) > 0 {
		return []byte{noFields}, nil
	}
	at := 0
	for i := 0; i < len(fields); {
		f := &fields[i]
		leaf := findLeaf(leaves, at, f)
		if leaf < 0 {
			recipe = append(recipe, literal, byte(f.Value.Kind))
			recipe = appendName(recipe, f.Name)
			text := f.Value.Text
			if f.Value.Kind == sigma.Null {
				text = "null" // as searches see it
			}
			more = append(more, text)
			i++
			continue
		}
		n := 0
		for i+n < len(fields) && leaf+n < len(leaves) && leaves[leaf+n].Path.Name == fields[i+n].Name && leaves[leaf+n].Value == fields[i+n].Value {
			n++
		}
		switch own := leaves[leaf].Path.Name; {
		case n == len(fields) && n == len(leaves):
			return nil, nil
		case n > 0:
			recipe = binary.AppendUvarint(append(recipe, fromLeaf), uint64(leaf))
			recipe = binary.AppendUvarint(recipe, uint64(n))
		case strings.HasSuffix(own, f.Name):
			recipe = binary.AppendUvarint(append(recipe, cutLeaf), uint64(leaf))
			recipe = binary.AppendUvarint(recipe, uint64(len(own)-len(f.Name)))
		default:
			recipe = appendName(binary.AppendUvarint(append(recipe, namedLeaf), uint64(leaf)), f.Name)
		}
		n = max(n, 1)
		i += n
		at = leaf + n
	}
	return recipe, more
}

// findLeaf looks for a field's value from at on, then before it: fields mostly
// come in the order of the leaves. A leaf of the field's own name is best.
func findLeaf(leaves []flatjson.Leaf, at int, f *sigma.Field) int {
	if at < len(leaves) && leaves[at].Value == f.Value && leaves[at].Path.Name == f.Name {
		return at
	}
	found := -1
	for k := range leaves {
		i := (at + k) % len(leaves)
		if leaves[i].Value != f.Value {
			continue
		}
		if leaves[i].Path.Name == f.Name {
			return i
		}
		if found < 0 {
			found = i
		}
	}
	return found
}

func appendName(b []byte, name string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(name))), name...)
}

var errRecipe = errors.New("the recipe of its fields is damaged")

func decodeFields(leaves []flatjson.Leaf, recipe []byte, more []string) ([]sigma.Field, error) {
	if recipe == nil {
		out := make([]sigma.Field, len(leaves))
		for i := range leaves {
			out[i] = sigma.Field{Name: leaves[i].Path.Name, Value: leaves[i].Value}
		}
		return out, nil
	}
	if len(recipe) == 1 && recipe[0] == noFields {
		return nil, nil
	}
	r := recipeReader{b: recipe}
	var out []sigma.Field
	for len(r.b) > 0 && !r.bad {
		code := r.number(literal + 1)
		if code == literal {
			f := sigma.Field{Value: sigma.Value{Kind: sigma.Kind(r.number(int(sigma.Bool) + 1))}, Name: r.name()}
			if len(more) == 0 {
				return nil, errRecipe
			}
			if f.Value.Kind != sigma.Null {
				f.Value.Text = more[0]
			}
			more = more[1:]
			out = append(out, f)
			continue
		}
		leaf := r.number(len(leaves))
		if r.bad {
			break
		}
		own := leaves[leaf].Path.Name
		switch code {
		case fromLeaf:
			for i := range r.number(len(leaves) - leaf + 1) {
				out = append(out, sigma.Field{Name: leaves[leaf+i].Path.Name, Value: leaves[leaf+i].Value})
			}
		case cutLeaf:
			out = append(out, sigma.Field{Name: own[r.number(len(own)+1):], Value: leaves[leaf].Value})
		case namedLeaf:
			out = append(out, sigma.Field{Name: r.name(), Value: leaves[leaf].Value})
		}
	}
	if r.bad {
		return nil, errRecipe
	}
	return out, nil
}

// A recipeReader reads a recipe. After the first fault all is zero.
type recipeReader struct {
	b   []byte
	bad bool
}

// number reads a number below a limit.
func (r *recipeReader) number(limit int) int {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v >= uint64(limit) {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return int(v)
}

func (r *recipeReader) name() string {
	n := r.number(len(r.b) + 1)
	if n > len(r.b) {
		r.b, r.bad = nil, true
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}
