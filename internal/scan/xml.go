package scan

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strings"
)

// readXML reads <Event> elements, as wevtutil and the event viewer export
// them, and makes the JSON of them that a log itself would give.
func readXML(r io.Reader, add func([]byte) error) error {
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
			v, err := element(d, start, 1)
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

// maxXMLDepth bounds how deep elements nest.
const maxXMLDepth = 32

// element reads an element to its end: its text, or an object of attributes
// and children.
func element(d *xml.Decoder, start xml.StartElement, depth int) (any, error) {
	if depth > maxXMLDepth {
		return nil, errors.New("XML is nested too deep")
	}
	members, text := make(map[string]any), ""
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
			text += string(t)
		case xml.StartElement:
			v, err := element(d, t, depth+1)
			if err != nil {
				return nil, err
			}
			put(members, nameOf(t), v)
		case xml.EndElement:
			if text = strings.TrimSpace(text); len(members) == 0 {
				if text == "" {
					return nil, nil
				}
				return text, nil
			}
			if text != "" {
				members["#text"] = text
			}
			return members, nil
		}
	}
}

// nameOf is the member that an element becomes: <Data Name="X"> is X.
func nameOf(e xml.StartElement) string {
	if e.Name.Local == "Data" {
		for _, a := range e.Attr {
			if a.Name.Local == "Name" && a.Value != "" {
				return a.Value
			}
		}
	}
	return e.Name.Local
}

// put adds a member; one that is there twice is an array.
func put(members map[string]any, name string, v any) {
	switch old := members[name].(type) {
	case nil:
		members[name] = v
	case []any:
		members[name] = append(old, v)
	default:
		members[name] = []any{old, v}
	}
}
