package celery

import (
	"encoding/json"
	"slices"
	"time"
)

// A Control is a remote control command to workers, published on [Keys.ControlChannel].
// [Control.Matches] tells which nodes it is for.
//
// Source: kombu/pidbox.py Mailbox._publish.
type Control struct {
	Method    string          `json:"method"`    // "ping", "stats", "revoke", …
	Arguments json.RawMessage `json:"arguments"` // a JSON object; nil for none

	Destination []string `json:"destination"` // the nodes it is for; nil: decided by Pattern
	Pattern     string   `json:"pattern"`     // of node names
	Matcher     string   `json:"matcher"`     // the syntax of Pattern

	Ticket  string  `json:"ticket,omitempty"`  // repeated by the reply
	ReplyTo ReplyTo `json:"reply_to,omitzero"` // zero: no reply

	Clock   int64     `json:"-"` // of the sender
	Expires time.Time `json:"-"` // after which no reply is needed; zero: never
}

// A ReplyTo is the destination of a reply: the list [Keys.Reply] of the routing key.
type ReplyTo struct {
	Exchange   string `json:"exchange"`
	RoutingKey string `json:"routing_key"`
}

// NewControl returns a command to all nodes that asks for replies until a time. Before
// it is published, the set keys.BindingKey(c.ReplyTo.Exchange) needs the member
// BindingMember(oid, oid+"."+c.ReplyTo.Exchange), where oid is the routing key:
// without that, kombu drops the replies.
func NewControl(method string, expires time.Time) *Control {
	return &Control{Method: method, Ticket: NewID(), ReplyTo: ReplyTo{replyExchange, NewID()}, Expires: expires}
}

// Matches reports whether the command is for a node: if there are destinations, if the
// node is one; otherwise always, unless the command is for the nodes that match a
// pattern, which is not supported.
//
// Source: kombu/pidbox.py Node.handle_message.
func (c *Control) Matches(node string) bool {
	if len(c.Destination) > 0 {
		return slices.Contains(c.Destination, node)
	}
	return c.Pattern == "" || c.Matcher == ""
}

// WantsReply reports whether the sender waits for a reply.
func (c *Control) WantsReply() bool { return c.ReplyTo.RoutingKey != "" }

// Append appends the message of a command, as `celery inspect` sends it.
func (c *Control) Append(dst []byte) ([]byte, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return dst, err
	}
	dst = appendInt(appendEnvelopeStart(dst, body), `"clock": `, c.Clock)
	dst = append(appendTimestamp(dst, `, "expires": `, c.Expires), `}, "properties": {`...)
	return deliveryProperties{mode: 1, exchange: controlExchange}.appendEnvelopeEnd(dst), nil
}

// DecodeControl decodes a command. Its error is a *DecodeError.
func DecodeControl(envelope []byte) (*Control, error) {
	c := new(Control)
	var headers struct {
		Clock   int64
		Expires float64
	}
	if err := decodeMessage(envelope, c, &headers); err != nil {
		return nil, err
	}
	if c.Method == "" {
		return nil, newDecodeError("the command has no method", "")
	}
	c.Clock = headers.Clock
	if headers.Expires != 0 {
		c.Expires = time.UnixMicro(int64(headers.Expires * 1e6)).UTC()
	}
	return c, nil
}

// AppendReply appends the message with which a node replies to a command, to be pushed
// (LPUSH) to keys.Reply(c.ReplyTo.RoutingKey). The value is JSON, such as {"ok": "pong"}
// or {"error": "…"}.
//
// Source: kombu/pidbox.py Mailbox._publish_reply.
func AppendReply(dst []byte, node string, c *Control, value json.RawMessage, clock int64) []byte {
	body := appendString(make([]byte, 0, len(value)+len(node)+8), "{", node)
	body = append(appendRawOr(body, ": ", value, "null"), '}')
	dst = appendStringOrNull(appendEnvelopeStart(dst, body), `"ticket": `, c.Ticket)
	dst = append(appendInt(dst, `, "clock": `, clock), `}, "properties": {`...)
	return deliveryProperties{mode: 1, exchange: c.ReplyTo.Exchange, routingKey: c.ReplyTo.RoutingKey}.appendEnvelopeEnd(dst)
}

// DecodeReply decodes a reply: its node, and its value as standard JSON. Its error is a
// *DecodeError.
func DecodeReply(envelope []byte) (node string, value json.RawMessage, err error) {
	var reply map[string]json.RawMessage
	if err := decodeMessage(envelope, &reply, nil); err != nil {
		return "", nil, err
	}
	for node, value := range reply {
		return node, value, nil
	}
	return "", nil, newDecodeError("the reply names no node", "")
}
