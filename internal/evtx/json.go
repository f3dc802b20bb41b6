package evtx

// A writer converts elements to JSON. An element becomes its text, or an object of
// its children, with its attributes in "#attributes" and its text in "#text".
// <Data Name="X"> becomes the member X. Elements of the same name become a list.
type writer struct {
	d   *Decoder
	out []byte // the record so far
	// bare: the record is an element itself, not an instance of a template. Its empty
	// elements are empty strings, as those whose values a template substitutes.
	bare    bool
	members []member   // of the objects that are being written, where names may repeat
	values  []rawValue // of the substitutions of the record
	text    []byte     // to compare
}

// A member is an element that is to become a member of an object, or one of its values.
type member struct {
	name    string // escaped
	element *element
	in      boundContent
	next    int // index of the next member of the same name; 0: there is none
	written bool
}

// boundContent is content with the values of its substitutions.
type boundContent struct {
	*content
	values []rawValue
	depth  int // of its fragment
}

// with returns content of the same fragment.
func (c boundContent) with(of *content) boundContent { return boundContent{of, c.values, c.depth} }

// writeRecord returns a record in JSON: an instance of a template, or an element. It is
// valid until the next call.
func (w *writer) writeRecord(p *parser) []byte {
	w.out, w.members, w.values = w.out[:0], w.members[:0], w.values[:0]
	c := w.readFragment(p)
	w.bare = p.noDependencyID
	w.out = append(w.out, '{')
	w.writeMembers(c, true)
	w.out = append(w.out, '}')
	return w.out
}

// addValues returns room for n values.
func (w *writer) addValues(n int) []rawValue {
	start := len(w.values)
	if start+n > cap(w.values) {
		w.values, start = make([]rawValue, 0, max(n, 64)), 0 // those before are in use
	}
	w.values = w.values[:start+n]
	return w.values[start : start+n : start+n]
}

// readFragment reads a fragment.
func (w *writer) readFragment(p *parser) boundContent {
	if p.depth++; p.depth > maxBinaryXMLDepth {
		p.panicf("nested deeper than %d", maxBinaryXMLDepth)
	}
	if p.peek() == tokenFragmentHeader {
		p.read(4)
	}
	if p.peek()&^tokenMoreFlag == tokenTemplateInstance {
		c, values := p.templateInstance()
		return boundContent{c, values, p.depth}
	}
	p.noDependencyID = true
	c := p.content()
	return boundContent{&c, nil, p.depth}
}

// writeMembers writes the elements of c as members of an object; first says that it has
// no members yet.
func (w *writer) writeMembers(c boundContent, first bool) {
	if c.distinct {
		for i := range c.parts {
			e := c.parts[i].element
			w.writeMemberName(e.memberName, first && i == 0)
			w.writeElement(e, c)
		}
		return
	}
	start := len(w.members)
	w.collectMembers(c)
	w.linkSameNamed(start)
	for i := start; i < len(w.members); i++ {
		m := w.members[i]
		if m.written {
			continue
		}
		w.writeMemberName(m.name, first)
		first = false
		if m.next == 0 {
			w.writeElement(m.element, m.in)
			continue
		}
		w.out = append(w.out, '[')
		for k := i; ; k = w.members[k].next {
			m := w.members[k]
			w.members[k].written = true
			w.writeElement(m.element, m.in)
			if m.next == 0 {
				break
			}
			w.out = append(w.out, ',')
		}
		w.out = append(w.out, ']')
	}
	w.members = w.members[:start]
}

func (w *writer) writeMemberName(name string, first bool) {
	w.d.spendChunkMemory(nodeMemoryBytes + len(name))
	if !first {
		w.out = append(w.out, ',')
	}
	w.out = append(append(append(w.out, '"'), name...), '"', ':')
}

// collectMembers appends the elements of c, and those of the fragments in its values.
func (w *writer) collectMembers(c boundContent) {
	for i := range c.parts {
		pt := &c.parts[i]
		if e := pt.element; e != nil {
			w.d.spendChunkMemory(nodeMemoryBytes)
			w.members = append(w.members, member{name: w.memberName(e, c), element: e, in: c})
		} else if v := c.value(pt); v.isXML() {
			w.collectMembers(w.readNestedFragment(v, c.depth))
		}
	}
}

// linkSameNamed links the members from start on that have the same name.
func (w *writer) linkSameNamed(start int) {
	ms := w.members[start:]
	link := func(from, to int) { ms[from].next = start + to }
	if len(ms) > 16 { // more than most such objects have
		last := make(map[string]int, len(ms))
		for i := range ms {
			if k, ok := last[ms[i].name]; ok {
				link(k, i)
			}
			last[ms[i].name] = i
		}
		return
	}
	for i := range ms {
		for k := i + 1; k < len(ms); k++ {
			if ms[k].name == ms[i].name {
				link(i, k)
				break
			}
		}
	}
}

func (v rawValue) isXML() bool { return v.kind == kindXML && len(v.data) > 0 }

// readNestedFragment reads a value that is binary XML.
func (w *writer) readNestedFragment(v rawValue, depth int) boundContent {
	// The value is a slice of the chunk, and its names are offsets of the chunk.
	start := cap(w.d.chunk) - cap(v.data)
	return w.readFragment(&parser{d: w.d, b: w.d.chunk[:start+len(v.data)], at: start, depth: depth, noDependencyID: true})
}

// value returns the value of a substitution, an empty one for other parts.
func (c boundContent) value(pt *part) rawValue {
	if pt.substitution < 0 || pt.substitution >= len(c.values) {
		return rawValue{}
	}
	return c.values[pt.substitution]
}

// memberName returns the name of the member that an element becomes.
func (w *writer) memberName(e *element, in boundContent) string {
	if !e.hasVariableName() {
		return e.memberName
	}
	if text := w.textOf(e.attributes[e.nameAttribute].parts, in); len(text) > 0 {
		return string(text)
	}
	return e.name
}

// writeElement writes the value that an element becomes.
func (w *writer) writeElement(e *element, in boundContent) {
	c := in.with(&e.content)
	start := len(w.out)
	hasAttributes := w.writeAttributes(e, in)
	switch {
	case c.hasElements || c.hasXML():
		if !hasAttributes {
			w.out = append(w.out[:start], '{')
		}
		w.writeMembers(c, !hasAttributes)
		w.out = append(w.out, '}')
	case hasAttributes:
		if len(w.textOf(c.parts, c)) > 0 {
			w.out = append(w.out, `,"#text":`...)
			w.writeScalar(c.parts, c)
		}
		w.out = append(w.out, '}')
	default:
		w.writeScalar(c.parts, c)
	}
}

// writeAttributes writes the start of an object with the attributes that have a text, and
// returns false if there are none.
func (w *writer) writeAttributes(e *element, in boundContent) bool {
	written := false
	for i := range e.attributes {
		a := &e.attributes[i]
		if len(w.textOf(a.parts, in)) == 0 || i == e.nameAttribute {
			continue
		}
		if !written {
			w.out = append(w.out, `{"#attributes":{`...)
		}
		w.writeMemberName(a.name, !written)
		w.writeScalar(a.parts, in)
		written = true
	}
	if written {
		w.out = append(w.out, '}')
	}
	return written
}

// hasXML reports whether a value of c is binary XML.
func (c boundContent) hasXML() bool {
	for i := range c.parts {
		if c.value(&c.parts[i]).isXML() {
			return true
		}
	}
	return false
}

// writeScalar writes text content. A single value keeps its type.
func (w *writer) writeScalar(parts []part, in boundContent) {
	if len(parts) == 1 && parts[0].substitution >= 0 {
		w.writeValue(in.value(&parts[0]))
		return
	}
	if len(parts) == 0 && !w.bare {
		w.out = append(w.out, "null"...)
		return
	}
	w.out = append(w.out, '"')
	w.out = w.appendText(w.out, parts, in)
	w.out = append(w.out, '"')
}

// textOf returns text content, which is valid until the next call.
func (w *writer) textOf(parts []part, in boundContent) []byte {
	w.text = w.appendText(w.text[:0], parts, in)
	return w.text
}

// appendText appends text content, escaped.
func (w *writer) appendText(dst []byte, parts []part, in boundContent) []byte {
	for i := range parts {
		if parts[i].substitution < 0 {
			w.d.spendChunkMemory(len(parts[i].text))
			dst = append(dst, parts[i].text...)
			continue
		}
		v := in.value(&parts[i])
		w.spendValue(v)
		if v.kind&kindArrayFlag == 0 {
			dst = v.appendTo(dst)
			continue
		}
		n := 0
		for item := range v.items() {
			if n++; n > 1 {
				dst = append(dst, ", "...)
			}
			dst = item.appendTo(dst)
		}
	}
	return dst
}

func (w *writer) writeValue(v rawValue) {
	w.spendValue(v)
	if v.kind&kindArrayFlag == 0 {
		w.writeItem(v)
		return
	}
	w.out = append(w.out, '[')
	n := 0
	for item := range v.items() {
		if n++; n > 1 {
			w.out = append(w.out, ',')
		}
		w.writeItem(item)
	}
	w.out = append(w.out, ']')
}

// writeItem writes a value that is no array.
func (w *writer) writeItem(v rawValue) {
	switch {
	case v.kind == kindNull:
		w.out = append(w.out, "null"...)
	case v.isQuoted():
		w.out = append(w.out, '"')
		w.out = v.appendTo(w.out)
		w.out = append(w.out, '"')
	default:
		w.out = v.appendTo(w.out)
	}
}

// spendValue spends the memory that the JSON of a value takes at most.
func (w *writer) spendValue(v rawValue) { w.d.spendChunkMemory(nodeMemoryBytes + 8*len(v.data)) }
