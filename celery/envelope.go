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

func parseEnvelope(b []byte) (e envelope, err error) {
	err = eachMember(b, func(key, value []byte) {
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
		err = checkUTF8(b)
	}
	if err != nil {
		return e, newDecodeError("the message isn't an envelope of kombu: "+err.Error(), "only Celery and kombu may write to this list")
	}
	if len(e.rawBody) == 0 || e.rawBody[0] != '"' {
		return e, newDecodeError("the message has no body", "only Celery and kombu may write to this list")
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

func newDecodeError(reason, hint string) error { return &DecodeError{Reason: reason, Hint: hint} }

// maxMessageBytes bounds the bodies of events, commands and replies in bytes.
const maxMessageBytes = 16 << 20

// decodeMessage decodes the body and, unless headers is nil, the headers of an event, a
// command or a reply. Its error is a *DecodeError.
func decodeMessage(message []byte, body, headers any) error {
	e, err := parseEnvelope(message)
	if err != nil {
		return err
	}
	b, err := e.body(valueText(member(e.properties, "body_encoding")), maxMessageBytes)
	if err != nil {
		return err
	}
	plain, err := NormalizeJSON(nil, b)
	if err == nil {
		err = json.Unmarshal(plain, body)
	}
	if err != nil {
		return newDecodeError("the body is bad: "+err.Error(), "")
	}
	if headers != nil && len(e.headers) > 0 && json.Unmarshal(e.headers, headers) != nil {
		return newDecodeError("the headers are bad", "")
	}
	return nil
}

// checkContentType returns an error for anything but JSON in UTF-8.
//
// Source: kombu/serialization.py register_json and so on.
func (e *envelope) checkContentType() error {
	if string(e.contentType) == `"application/json"` && string(e.encoding) == `"utf-8"` {
		return nil
	}
	kind := strings.ToLower(valueText(e.contentType))
	if kind != "" && kind != "application/json" {
		name, known := map[string]string{
			"application/x-python-serialize": "pickle", "application/x-yaml": "YAML", "application/x-msgpack": "msgpack",
			"application/data": "raw bytes", "text/plain": "raw text",
		}[kind]
		if !known {
			name = "of the unknown content type " + strconv.Quote(truncate(kind, 60))
		}
		return newDecodeError("the body is "+name+": only JSON is read", "set task_serializer = 'json' in the producer's Celery settings")
	}
	switch encoding := strings.ToLower(valueText(e.encoding)); encoding {
	case "", "utf-8", "utf8", "us-ascii", "ascii":
		return nil
	default:
		return newDecodeError(fmt.Sprintf("the content encoding is %.60q: only utf-8 is read", encoding),
			"set task_serializer = 'json' in the producer's Celery settings")
	}
}

// body returns the bytes of the body, still compressed if it is.
func (e *envelope) body(encoding string, maxBytes int) ([]byte, error) {
	if err := e.checkContentType(); err != nil {
		return nil, err
	}
	inner := unquoted(e.rawBody)
	switch strings.ToLower(encoding) {
	case "", "utf-8":
		if len(inner) > maxBytes {
			return nil, bodyTooLargeError(maxBytes)
		}
		return bytes.Clone(inner), nil
	case "base64":
	default:
		return nil, newDecodeError(fmt.Sprintf("the body encoding is %.60q: only base64 and utf-8 are read", encoding), "")
	}
	if base64.StdEncoding.DecodedLen(len(inner)) > maxBytes+2 {
		return nil, bodyTooLargeError(maxBytes)
	}
	body, err := base64.StdEncoding.AppendDecode(make([]byte, 0, base64.StdEncoding.DecodedLen(len(inner))), inner)
	if err != nil {
		return nil, newDecodeError("the body is bad base64: "+err.Error(), "the message was cut or changed on its way")
	}
	if len(body) > maxBytes {
		return nil, bodyTooLargeError(maxBytes)
	}
	return body, nil
}

func bodyTooLargeError(maxBytes int) error {
	return newDecodeError(fmt.Sprintf("the body is larger than %d bytes", maxBytes), "send less in one task, or allow larger bodies")
}

// appendEnvelopeStart appends the start of an envelope, up to the brace of its headers.
func appendEnvelopeStart(dst, body []byte) []byte {
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

// appendEnvelopeEnd appends the properties from delivery_mode on, and ends the envelope.
func (d deliveryProperties) appendEnvelopeEnd(dst []byte) []byte {
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

// truncate returns at most maxBytes bytes of s.
func truncate(s string, maxBytes int) string {
	if len(s) > maxBytes {
		return s[:maxBytes] + "..."
	}
	return s
}

// MarkRedelivered returns the envelope as kombu writes it when it returns an unacknowledged
// message to its queue: "redelivered" is true in its headers and in its delivery_info,
// if it has them, and the rest is unchanged byte for byte.
//
// Source: kombu/transport/redis.py Channel._do_restore_message.
func MarkRedelivered(envelope []byte) ([]byte, error) {
	if err := checkJSON(envelope); err != nil {
		return nil, newDecodeError("the message isn't an envelope of kombu: "+err.Error(), "")
	}
	marked := setRedelivered(envelope, member(envelope, "headers"))
	return setRedelivered(marked, member(member(marked, "properties"), "delivery_info")), nil
}

// setRedelivered sets "redelivered" in an object that is a part of message. If it is
// not an object, message is returned.
func setRedelivered(message, object []byte) []byte {
	if len(object) == 0 || object[0] != '{' {
		return message
	}
	if old := member(object, "redelivered"); old != nil {
		at := cap(message) - cap(old)
		return slices.Concat(message[:at], []byte("true"), message[at+len(old):])
	}
	mark := `, "redelivered": true`
	if object[skipSpace(object, 1)] == '}' {
		mark = mark[len(", "):]
	}
	end := cap(message) - cap(object) + len(object) - 1
	return slices.Concat(message[:end], []byte(mark), message[end:])
}
