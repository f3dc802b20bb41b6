package celery

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// An envelope is a kombu message in Redis: a task, event, command or reply. Each part
// is JSON as it was written.
//
//	{"body": base64, "content-encoding": "utf-8", "content-type": "application/json",
//	 "headers": {…}, "properties": {…, "delivery_info": {"exchange", "routing_key"}, "body_encoding": "base64", …}}
//
// Source: kombu/transport/virtual/base.py Channel.prepare_message.
type envelope struct{ rawBody, encoding, contentType, headers, properties []byte }

func openEnvelope(b []byte) (e envelope, err error) {
	err = members(b, func(key, value []byte) {
		switch string(key) {
		case "body":
			e.rawBody = value
		case "content-encoding":
			e.encoding = value
		case "content-type":
			e.contentType = value
		case "headers":
			e.headers = value
		case "properties":
			e.properties = value
		}
	})
	if err == nil {
		err = isUTF8(b)
	}
	if err != nil {
		return e, decodeError("the message isn't an envelope of kombu: "+err.Error(), "only Celery and kombu may write to this list")
	}
	if len(e.rawBody) == 0 || e.rawBody[0] != '"' {
		return e, decodeError("the message has no body", "only Celery and kombu may write to this list")
	}
	return e, nil
}

// A DecodeError is a message that can never be decoded; retrying does not help.
type DecodeError struct {
	Reason string // why the message cannot be decoded
	Hint   string // what to change in the producer; may be empty
}

// Error returns Reason.
func (e *DecodeError) Error() string { return e.Reason }

func decodeError(what, hint string) error { return &DecodeError{Reason: what, Hint: hint} }

// maxMessageBytes bounds the bodies of events, commands and replies in bytes.
const maxMessageBytes = 16 << 20

// decodeMessage decodes the body and, unless headers is nil, the headers of an event, a
// command or a reply. Its error is a *DecodeError.
func decodeMessage(message []byte, body, headers any) error {
	e, err := openEnvelope(message)
	if err != nil {
		return err
	}
	b, err := e.body(text(member(e.properties, "body_encoding")), maxMessageBytes)
	if err != nil {
		return err
	}
	plain, err := NormalizeJSON(nil, b)
	if err == nil {
		err = json.Unmarshal(plain, body)
	}
	if err != nil {
		return decodeError("the body is bad: "+err.Error(), "")
	}
	if headers != nil && len(e.headers) > 0 && json.Unmarshal(e.headers, headers) != nil {
		return decodeError("the headers are bad", "")
	}
	return nil
}

// checkContent returns an error for anything but JSON in UTF-8.
//
// Source: kombu/serialization.py register_json and so on.
func (e *envelope) checkContent() error {
	if string(e.contentType) == `"application/json"` && string(e.encoding) == `"utf-8"` {
		return nil
	}
	kind := strings.ToLower(text(e.contentType))
	if kind != "" && kind != "application/json" {
		name, known := map[string]string{
			"application/x-python-serialize": "pickle", "application/x-yaml": "YAML", "application/x-msgpack": "msgpack",
			"application/data": "raw bytes", "text/plain": "raw text",
		}[kind]
		if !known {
			name = "of the unknown content type " + strconv.Quote(truncate(kind, 60))
		}
		return decodeError("the body is "+name+": only JSON is read", "set task_serializer = 'json' in the producer's Celery settings")
	}
	switch encoding := strings.ToLower(text(e.encoding)); encoding {
	case "", "utf-8", "utf8", "us-ascii", "ascii":
		return nil
	default:
		return decodeError(fmt.Sprintf("the content encoding is %.60q: only utf-8 is read", encoding),
			"set task_serializer = 'json' in the producer's Celery settings")
	}
}

// body returns the bytes of the body, still compressed if it is.
func (e *envelope) body(encoding string, max int) ([]byte, error) {
	if err := e.checkContent(); err != nil {
		return nil, err
	}
	inner := unquoted(e.rawBody)
	switch strings.ToLower(encoding) {
	case "", "utf-8":
		if len(inner) > max {
			return nil, tooLarge(max)
		}
		return bytes.Clone(inner), nil
	case "base64":
	default:
		return nil, decodeError(fmt.Sprintf("the body encoding is %.60q: only base64 and utf-8 are read", encoding), "")
	}
	if base64.StdEncoding.DecodedLen(len(inner)) > max+2 {
		return nil, tooLarge(max)
	}
	body, err := base64.StdEncoding.AppendDecode(make([]byte, 0, base64.StdEncoding.DecodedLen(len(inner))), inner)
	if err != nil {
		return nil, decodeError("the body is bad base64: "+err.Error(), "the message was cut or changed on its way")
	}
	if len(body) > max {
		return nil, tooLarge(max)
	}
	return body, nil
}

func tooLarge(max int) error {
	return decodeError(fmt.Sprintf("the body is larger than %d bytes", max), "send less in one task, or allow larger bodies")
}

// appendEnvelope appends the start of an envelope, up to the brace of its headers.
func appendEnvelope(dst, body []byte) []byte {
	dst = append(dst, `{"body": "`...)
	dst = base64.StdEncoding.AppendEncode(dst, body)
	return append(dst, `", "content-encoding": "utf-8", "content-type": "application/json", "headers": {`...)
}

// deliveryProperties are the last properties of an envelope.
type deliveryProperties struct {
	mode                      byte // '1' transient, '2' persistent; equal in Redis
	exchange, routingKey, tag string
	priority                  int
}

// append appends the properties from delivery_mode on, and ends the envelope.
func (d deliveryProperties) append(dst []byte) []byte {
	dst = append(dst, `"delivery_mode": `...)
	dst = append(dst, d.mode)
	dst = append(dst, `, "delivery_info": {"exchange": `...)
	dst = appendString(dst, d.exchange)
	dst = append(dst, `, "routing_key": `...)
	dst = appendString(dst, d.routingKey)
	dst = append(dst, `}, "priority": `...)
	dst = strconv.AppendInt(dst, int64(d.priority), 10)
	dst = append(dst, `, "body_encoding": "base64", "delivery_tag": `...)
	if d.tag == "" {
		d.tag = NewID()
	}
	dst = appendString(dst, d.tag)
	return append(dst, "}}"...)
}

// truncate returns at most max bytes of s.
func truncate(s string, max int) string {
	if len(s) > max {
		return s[:max] + "..."
	}
	return s
}

// Redelivered returns the envelope as kombu writes it when it returns an unacknowledged
// message to its queue: "redelivered" is true in its headers and in its delivery_info,
// if it has them, and the rest is unchanged byte for byte.
//
// Source: kombu/transport/redis.py Channel._do_restore_message.
func Redelivered(envelope []byte) ([]byte, error) {
	if err := checkJSON(envelope); err != nil {
		return nil, decodeError("the message isn't an envelope of kombu: "+err.Error(), "")
	}
	marked := markRedelivered(envelope, member(envelope, "headers"))
	return markRedelivered(marked, member(member(marked, "properties"), "delivery_info")), nil
}

// markRedelivered sets "redelivered" in an object that is a part of b. If it is not an
// object, b is returned.
func markRedelivered(b, object []byte) []byte {
	if len(object) == 0 || object[0] != '{' {
		return b
	}
	if old := member(object, "redelivered"); old != nil {
		at := cap(b) - cap(old)
		return slices.Concat(b[:at], []byte("true"), b[at+len(old):])
	}
	mark := `, "redelivered": true`
	if object[skipSpace(object, 1)] == '}' {
		mark = mark[len(", "):]
	}
	end := cap(b) - cap(object) + len(object) - 1
	return slices.Concat(b[:end], []byte(mark), b[end:])
}
