package shape

import (
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/picket-edr/picket/sigma"
)

// hasRecord reports whether a text has a record of the audit system in it.
func hasRecord(text string) bool {
	_, _, ok := cutHead(text)
	return ok
}

// readRecords reads the records of a text, one a line, into a. It returns what
// they say of the whole, and whether they are all of one event.
func (a *audit) readRecords(text string) (head auditHead, joined bool) {
	joined = true
	for line := range strings.Lines(text) {
		h, body, ok := cutHead(strings.TrimRight(line, "\r\n"))
		if !ok {
			continue
		}
		if a.records == 0 {
			head = h
		}
		joined = joined && h.id == head.id
		a.readRecord(h.typ, body)
	}
	return head, joined
}

// An auditHead is what stands before the fields of a record.
type auditHead struct {
	typ, node string
	id        string // 1700000000.123:456
}

// time is when the event was.
func (h auditHead) time() time.Time { return auditTime(h.id) }

// auditTime is the time in an event's id, and none in anything else.
func auditTime(id string) time.Time {
	seconds, _, ok := strings.Cut(id, ":")
	if !ok {
		return time.Time{}
	}
	return parseTime(sigma.Value{Kind: sigma.String, Text: seconds})
}

// cutHead cuts [node=N ]type=T msg=audit(ID): off a line, be there what may
// before it: a syslog header, the name of a program. The kernel itself leaves
// msg= out and gives types by number.
func cutHead(line string) (h auditHead, body string, ok bool) {
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
	if name := auditTypes[h.typ]; name != "" {
		h.typ = name
	}
	return h, strings.TrimPrefix(body, ":"), h.typ != ""
}

// readRecord reads the fields of one record.
func (a *audit) readRecord(typ, body string) {
	a.begin(typ)
	c := chunks{a: a}
	pairs(body, 0, func(name, value string, quoted bool) {
		if base, _, ok := strings.Cut(name, "["); ok && typ == "EXECVE" {
			c.add(base, value, quoted)
			return
		}
		c.flush()
		a.add(name, decoded(typ, name, value, quoted))
	})
	c.flush()
}

// chunks joins an argument that was too long for one field: a1[0], a1[1], ….
type chunks struct {
	a    *audit
	name string
	text []byte
}

func (c *chunks) add(name, value string, quoted bool) {
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

func (c *chunks) flush() {
	if c.name != "" {
		c.a.add(c.name, valid(c.text))
		c.name, c.text = "", nil
	}
}

// pairs calls f with each name=value of a text. Words that are neither are
// skipped. The text in msg='…', which programs write, is read in its turn.
func pairs(text string, depth int, f func(name, value string, quoted bool)) {
	var c cutter
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
			pairs(value, depth+1, f)
		default:
			f(name, value, quote != 0)
		}
	}
}

// A cutter cuts values off a text. It remembers which ends the rest has none
// of, so that many values without one are not searched to the end each.
type cutter struct{ missing string }

// cut cuts a value off: in quotes, in braces, or a word.
func (c *cutter) cut(s string) (value string, quote byte, rest string) {
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

// decoded is a value as its program wrote it.
func decoded(typ, name, value string, quoted bool) string {
	if quoted || !auditText[name] && !(typ == "EXECVE" && isArgument(name)) {
		return value
	}
	b, err := hex.DecodeString(value)
	if err != nil || len(b) == 0 {
		return value // (null), or what is told in other words
	}
	if name == "proctitle" {
		for i := range b {
			if b[i] == 0 {
				b[i] = ' '
			}
		}
	}
	return valid(b)
}

// valid is bytes as text, which fields are.
func valid(b []byte) string { return strings.ToValidUTF8(string(b), "\ufffd") }

// sockaddr reads the address and the port of a socket's address in hex, of
// IPv4 and IPv6. The family's bytes are in the order of the machine, and the
// machine's is taken to be the little one.
func sockaddr(s string) (ip, port string) {
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
