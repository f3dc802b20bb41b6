package celery

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Control is a remote control command to workers, published on [Keys.ControlChannel].
// [Control.Matches] tells which nodes it is for.
//
// Source: kombu/pidbox.py Mailbox._publish.
type Control struct {
	Method    string          // "ping", "stats", "revoke", …
	Arguments json.RawMessage // a JSON object; nil for none

	Destination []string // the nodes it is for; nil: decided by Pattern
	Pattern     string   // a pattern of node names,
	Matcher     string   // in the syntax "glob" or "pcre"

	Ticket  string  // repeated by the reply
	ReplyTo ReplyTo // zero: no reply

	Clock   int64     // of the sender
	Expires time.Time // after which no reply is needed; zero: never
}

// A ReplyTo is the destination of a reply: the list [Keys.Reply] of the routing key.
type ReplyTo struct{ Exchange, RoutingKey string }

// Argument returns the argument with a name, as JSON.
func (c *Control) Argument(name string) (json.RawMessage, bool) {
	var found json.RawMessage
	_ = members(c.Arguments, func(key, value []byte) error {
		if string(key) == name {
			found = value
		}
		return nil
	})
	return found, found != nil
}

// Matches reports whether the command is for a node: if there are destinations, if the
// node is one; else if there is a pattern, if it matches the name; else always. A
// malformed pattern matches nothing.
//
// Source: kombu/pidbox.py Node.handle_message.
func (c *Control) Matches(node string) bool {
	if len(c.Destination) > 0 {
		return slices.Contains(c.Destination, node)
	}
	if c.Pattern == "" || c.Matcher == "" {
		return true
	}
	pattern := ""
	switch c.Matcher {
	case "glob":
		pattern = globRegexp(c.Pattern)
	case "pcre": // Python's re.match: from the start, but not to the end
		pattern = `\A(?:` + c.Pattern + `)`
	default:
		return false
	}
	re, err := regexp.Compile(pattern)
	return err == nil && re.MatchString(node)
}

// globRegexp converts a pattern of Python's fnmatch to a regular expression.
func globRegexp(glob string) string {
	var re strings.Builder
	re.WriteString(`(?s)\A`)
	for i := 0; i < len(glob); i++ {
		switch c := glob[i]; c {
		case '*':
			re.WriteString(".*")
		case '?':
			re.WriteByte('.')
		case '[':
			end := strings.IndexByte(glob[min(i+2, len(glob)):], ']')
			if i+2 > len(glob) || end < 0 {
				re.WriteString(`\[`)
				continue
			}
			set := strings.ReplaceAll(strings.ReplaceAll(glob[i+1:i+2+end], `\`, `\\`), "[", `\[`)
			if set[0] == '!' {
				set = "^" + set[1:]
			} else if set[0] == '^' {
				set = `\` + set
			}
			re.WriteString("[" + set + "]")
			i += 2 + end
		default:
			re.WriteString(regexp.QuoteMeta(glob[i : i+1]))
		}
	}
	re.WriteString(`\z`)
	return re.String()
}

// WantsReply reports whether the sender waits for a reply.
func (c *Control) WantsReply() bool { return c.ReplyTo.RoutingKey != "" }

// Append appends the message of a command, as `celery inspect` sends it. One that wants
// a reply needs a Ticket and a ReplyTo, for both of which NewID serves, and, before it
// is published, keys.BindingMember(oid, "", oid+".reply.celery.pidbox") in the set
// keys.BindingKey("reply.celery.pidbox"): without that, kombu drops the reply.
func (c *Control) Append(dst []byte) []byte {
	body := append(make([]byte, 0, 256), `{"method": `...)
	body = appendString(body, c.Method)
	body = appendRaw(append(body, `, "arguments": `...), c.Arguments, "{}")
	body = append(body, `, "destination": `...)
	if c.Destination == nil {
		body = append(body, "null"...)
	} else {
		body = appendStrings(body, c.Destination)
	}
	body = appendText(append(body, `, "pattern": `...), c.Pattern)
	body = appendText(append(body, `, "matcher": `...), c.Matcher)
	if c.WantsReply() {
		body = appendString(append(body, `, "ticket": `...), c.Ticket)
		body = append(body, `, "reply_to": {"exchange": `...)
		exchange := c.ReplyTo.Exchange
		if exchange == "" {
			exchange = replyExchange
		}
		body = appendString(body, exchange)
		body = appendString(append(body, `, "routing_key": `...), c.ReplyTo.RoutingKey)
		body = append(body, '}')
	}
	dst = appendEnvelope(dst, append(body, '}'))
	dst = strconv.AppendInt(append(dst, `"clock": `...), c.Clock, 10)
	dst = append(dst, `, "expires": `...)
	if c.Expires.IsZero() {
		dst = append(dst, '0')
	} else {
		dst = appendUnix(dst, c.Expires)
	}
	dst = append(dst, `}, "properties": {`...)
	return deliveryProperties{mode: '1', exchange: controlExchange}.append(dst)
}

func appendStrings(dst []byte, all []string) []byte {
	dst = append(dst, '[')
	for i, s := range all {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = appendString(dst, s)
	}
	return append(dst, ']')
}

// DecodeControl decodes a command. Its error is a *DecodeError.
func DecodeControl(envelope []byte) (*Control, error) {
	e, err := openEnvelope(envelope)
	if err != nil {
		return nil, err
	}
	body, err := e.jsonBody(maxMessage)
	if err != nil {
		return nil, err
	}
	c := new(Control)
	if err := members(body, c.set); err != nil {
		return nil, decodeError(fmt.Sprintf("the command is bad: %v", err), "")
	}
	if c.Method == "" {
		return nil, decodeError("the command has no method", "")
	}
	_ = members(e.headers, func(key, value []byte) error {
		switch string(key) {
		case "clock":
			c.Clock = int64(integer(value, 0))
		case "expires":
			c.Expires = unix(value)
		}
		return nil
	})
	return c, nil
}

func (c *Control) set(key, value []byte) error {
	switch string(key) {
	case "method":
		c.Method = text(value)
	case "arguments":
		if value[0] == '{' {
			c.Arguments = value
		}
	case "destination":
		if !isNull(value) {
			c.Destination = []string{}
			return elements(value, func(node []byte) error {
				c.Destination = append(c.Destination, text(node))
				return nil
			})
		}
	case "pattern":
		c.Pattern = text(value)
	case "matcher":
		c.Matcher = text(value)
	case "ticket":
		c.Ticket = text(value)
	case "reply_to":
		if !isNull(value) {
			return members(value, func(key, value []byte) error {
				switch string(key) {
				case "exchange":
					c.ReplyTo.Exchange = text(value)
				case "routing_key":
					c.ReplyTo.RoutingKey = text(value)
				}
				return nil
			})
		}
	}
	return nil
}

// AppendReply appends the message with which a node replies to a command, to be pushed
// (LPUSH) to keys.Reply(c.ReplyTo.RoutingKey). The value is JSON, such as [PongReply]
// or {"error": "…"}.
//
// Source: kombu/pidbox.py Mailbox._publish_reply.
func AppendReply(dst []byte, node string, c *Control, value json.RawMessage, clock int64) []byte {
	body := append(make([]byte, 0, len(value)+len(node)+8), '{')
	body = appendString(body, node)
	body = appendRaw(append(body, ": "...), value, "null")
	dst = appendEnvelope(dst, append(body, '}'))
	dst = appendText(append(dst, `"ticket": `...), c.Ticket)
	dst = strconv.AppendInt(append(dst, `, "clock": `...), clock, 10)
	dst = append(dst, `}, "properties": {`...)
	return deliveryProperties{mode: '1', exchange: c.ReplyTo.Exchange, routingKey: c.ReplyTo.RoutingKey}.append(dst)
}

// DecodeReply decodes a reply: its node, its ticket, and its value as JSON.
func DecodeReply(envelope []byte) (node, ticket string, value json.RawMessage, err error) {
	e, err := openEnvelope(envelope)
	if err != nil {
		return "", "", nil, err
	}
	body, err := e.jsonBody(maxMessage)
	if err != nil {
		return "", "", nil, err
	}
	err = members(body, func(key, v []byte) error {
		node, value = string(key), v
		return nil
	})
	if err == nil && value == nil {
		err = errors.New("it names no node")
	}
	if err != nil {
		return "", "", nil, decodeError(fmt.Sprintf("the reply is bad: %v", err), "")
	}
	_ = members(e.headers, func(key, v []byte) error {
		if string(key) == "ticket" {
			ticket = text(v)
		}
		return nil
	})
	return node, ticket, value, nil
}
