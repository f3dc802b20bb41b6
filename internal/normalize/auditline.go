package normalize

import (
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/picket-edr/picket/sigma"
)

// hasAuditRecord reports whether a text contains an audit record.
func hasAuditRecord(text string) bool {
	_, _, ok := parseAuditHead(text)
	return ok
}

// readRecords reads the records of a text, one a line, into a. It returns the head
// of the first, and whether all belong to the same event.
func (a *auditEvent) readRecords(text string) (head auditHead, sameEvent bool) {
	sameEvent = true
	for line := range strings.Lines(text) {
		h, body, ok := parseAuditHead(strings.TrimRight(line, "\r\n"))
		if !ok {
			continue
		}
		if a.records == 0 {
			head = h
		}
		sameEvent = sameEvent && h.id == head.id
		a.readRecord(h.typ, body)
	}
	return head, sameEvent
}

// An auditHead is the part of a record before its fields.
type auditHead struct {
	typ, node string
	id        string // 1700000000.123:456
}

// time returns the time of the event.
func (h auditHead) time() time.Time { return parseAuditTime(h.id) }

// parseAuditTime returns the time in an event's id, zero if it has none.
func parseAuditTime(eventID string) time.Time {
	seconds, _, ok := strings.Cut(eventID, ":")
	if !ok {
		return time.Time{}
	}
	return parseTime(sigma.Value{Kind: sigma.String, Text: seconds})
}

// parseAuditHead parses [node=N ]type=T msg=audit(ID): and returns the rest of the
// line. Anything may precede it, such as a syslog header. The kernel itself omits
// msg= and gives types by number.
func parseAuditHead(line string) (h auditHead, body string, ok bool) {
	before, rest, ok := strings.Cut(line, "audit(")
	if !ok {
		return h, "", false
	}
	h.id, body, ok = strings.Cut(rest, ")")
	if !ok || !strings.Contains(h.id, ":") || len(h.id) > 64 {
		return h, "", false
	}
	for word := range strings.FieldsSeq(before) {
		if v, is := strings.CutPrefix(word, "type="); is {
			h.typ = v
		} else if v, is := strings.CutPrefix(word, "node="); is {
			h.node = v
		}
	}
	if name := auditRecordTypesByNumber[h.typ]; name != "" {
		h.typ = name
	}
	return h, strings.TrimPrefix(body, ":"), h.typ != ""
}

// readRecord adds the fields of one record.
func (a *auditEvent) readRecord(recordType, body string) {
	a.beginRecord(recordType)
	c := argumentPartJoiner{a: a}
	forEachPair(body, 0, func(name, value string, quoted bool) {
		if base, _, ok := strings.Cut(name, "["); ok && recordType == "EXECVE" {
			c.addPart(base, value, quoted)
			return
		}
		c.flush()
		a.add(name, decodeAuditValue(recordType, name, value, quoted))
	})
	c.flush()
}

// argumentPartJoiner joins an argument that was split into several fields, because it
// is long: a1[0], a1[1], ….
type argumentPartJoiner struct {
	a    *auditEvent
	name string
	text []byte
}

func (c *argumentPartJoiner) addPart(name, value string, quoted bool) {
	if name != c.name {
		c.flush()
		c.name = name
	}
	if !quoted {
		if b, err := hex.DecodeString(value); err == nil {
			c.text = append(c.text, b...)
			return
		}
	}
	c.text = append(c.text, value...)
}

func (c *argumentPartJoiner) flush() {
	if c.name != "" {
		c.a.add(c.name, toValidUTF8(c.text))
		c.name, c.text = "", nil
	}
}

// forEachPair calls f with each name=value of a text and skips other words. It also
// reads the pairs in msg='…', which programs write.
func forEachPair(text string, depth int, f func(name, value string, quoted bool)) {
	var c valueCutter
	for text != "" {
		text = strings.TrimLeft(text, " \t\x1d,")
		end := strings.IndexAny(text, "= \t\x1d")
		if end < 0 {
			return
		}
		if text[end] != '=' {
			text = text[end:]
			continue
		}
		name := text[:end]
		value, quote, rest := c.cut(text[end+1:])
		text = rest
		switch {
		case name == "":
		case name == "msg" && quote == '\'' && depth == 0:
			forEachPair(value, depth+1, f)
		default:
			f(name, value, quote != 0)
		}
	}
}

// A valueCutter splits values from a text. It remembers which closing delimiters
// do not occur in the rest, so that unclosed values are not each searched to the
// end.
type valueCutter struct{ missing string }

// cut splits the next value off: in quotes, in braces, or a word.
func (c *valueCutter) cut(s string) (value string, quote byte, rest string) {
	if s != "" && (s[0] == '"' || s[0] == '\'' || s[0] == '{') {
		end := s[0]
		if end == '{' {
			end = '}'
		}
		if strings.IndexByte(c.missing, end) < 0 {
			if i := strings.IndexByte(s[1:], end); i >= 0 {
				return s[1 : 1+i], s[0], s[i+2:]
			}
			c.missing += string(end)
		}
	}
	if i := strings.IndexAny(s, " \t\x1d"); i >= 0 {
		return s[:i], 0, s[i:]
	}
	return s, 0, ""
}

// decodeAuditValue returns a value as the program wrote it.
func decodeAuditValue(recordType, name, value string, quoted bool) string {
	if quoted || !encodedAuditFields[name] && !(recordType == "EXECVE" && isArgument(name)) {
		return value
	}
	b, err := hex.DecodeString(value)
	if err != nil || len(b) == 0 {
		return value // (null), or not encoded
	}
	if name == "proctitle" {
		for i := range b {
			if b[i] == 0 {
				b[i] = ' '
			}
		}
	}
	return toValidUTF8(b)
}

// toValidUTF8 returns bytes as valid UTF-8.
func toValidUTF8(b []byte) string { return strings.ToValidUTF8(string(b), "\ufffd") }

// parseSockaddr parses an IPv4 or IPv6 socket address in hex. The family is in the
// byte order of the machine, which is assumed to be little-endian.
func parseSockaddr(s string) (ip, port string) {
	b, err := hex.DecodeString(strings.TrimPrefix(s, "0x"))
	if err != nil || len(b) < 8 {
		return "", ""
	}
	var addr netip.Addr
	switch family := int(b[0]) | int(b[1])<<8; {
	case family == 2:
		addr, _ = netip.AddrFromSlice(b[4:8])
	case family == 10 && len(b) >= 24:
		addr, _ = netip.AddrFromSlice(b[8:24])
	default:
		return "", ""
	}
	return addr.Unmap().String(), strconv.Itoa(int(b[2])<<8 | int(b[3]))
}
