package evtx

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ReadXML reads <Event> elements, as wevtutil, the Event Viewer and Sysmon for Linux
// write them, and calls add with each as JSON in the format of Reader. add may keep
// the bytes.
func ReadXML(r io.Reader, add func(eventJSON []byte) error) error {
	d := xml.NewDecoder(r)
	d.CharsetReader = func(string, io.Reader) (io.Reader, error) {
		return nil, errors.New("XML that is not in UTF-8; convert it first")
	}
	for {
		token, err := d.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "Event" {
			nodes := 0
			v, err := readXMLElement(d, start, 1, &nodes)
			if err != nil {
				return err
			}
			raw, err := json.Marshal(map[string]any{"Event": v})
			if err != nil {
				return err
			}
			if err := add(raw); err != nil {
				return err
			}
		}
	}
}

// Bounds of an event: how deep its elements nest, and how many elements and attributes
// it has.
const (
	maxXMLDepth         = 32
	maxXMLNodesPerEvent = 10_000
)

// readXMLElement reads an element to its end, and returns its text, or an object of its
// attributes and children.
func readXMLElement(d *xml.Decoder, start xml.StartElement, depth int, nodeCount *int) (any, error) {
	if *nodeCount += 1 + len(start.Attr); *nodeCount > maxXMLNodesPerEvent {
		return nil, fmt.Errorf("XML has more than %d elements and attributes", maxXMLNodesPerEvent)
	}
	if depth > maxXMLDepth {
		return nil, errors.New("XML is nested too deep")
	}
	members := make(map[string]any)
	var chars strings.Builder
	attributes := make(map[string]any)
	for _, a := range start.Attr {
		if a.Name.Local != "xmlns" && !(start.Name.Local == "Data" && a.Name.Local == "Name") {
			attributes[a.Name.Local] = a.Value
		}
	}
	if len(attributes) > 0 {
		members["#attributes"] = attributes
	}
	for {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		switch t := token.(type) {
		case xml.CharData:
			chars.Write(t)
		case xml.StartElement:
			v, err := readXMLElement(d, t, depth+1, nodeCount)
			if err != nil {
				return nil, err
			}
			addMember(members, memberName(t), v)
		case xml.EndElement:
			text := strings.TrimSpace(chars.String())
			switch {
			case len(members) == 0 && text == "":
				return nil, nil
			case len(members) == 0:
				return text, nil
			case text != "":
				members["#text"] = text
			}
			return members, nil
		}
	}
}

// memberName returns the name of the member that an element becomes, which is X for
// <Data Name="X">.
func memberName(e xml.StartElement) string {
	if e.Name.Local == "Data" {
		for _, a := range e.Attr {
			if a.Name.Local == "Name" && a.Value != "" {
				return a.Value
			}
		}
	}
	return e.Name.Local
}

// addMember adds a member. Members of the same name become an array.
func addMember(members map[string]any, name string, v any) {
	existing, repeated := members[name]
	list, isList := existing.([]any)
	switch {
	case !repeated:
		members[name] = v
	case isList:
		members[name] = append(list, v)
	default:
		members[name] = []any{existing, v}
	}
}
