package celery

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
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

// maxNonTaskBodyBytes bounds the bodies of events, commands and replies in bytes.
const maxNonTaskBodyBytes = 16 << 20

// decodeMessage decodes the body and, unless headers is nil, the headers of an event, a
// command or a reply. Its error is a *DecodeError.
func decodeMessage(message []byte, body, headers any) error {
	e, err := parseEnvelope(message)
	if err != nil {
		return err
	}
	b, err := e.body(valueText(member(e.properties, "body_encoding")), maxNonTaskBodyBytes)
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
	const hint = "set task_serializer = 'json' in the producer's Celery settings"
	if string(e.contentType) == `"application/json"` && string(e.encoding) == `"utf-8"` {
		return nil
	}
	if kind := strings.ToLower(valueText(e.contentType)); kind != "" && kind != "application/json" {
		name, known := unreadableContentTypes[kind]
		if !known {
			name = fmt.Sprintf("of the unknown content type %.60q", kind)
		}
		return newDecodeError("the body is "+name+": only JSON is read", hint)
	}
	encoding := strings.ToLower(valueText(e.encoding))
	if !slices.Contains([]string{"", "utf-8", "utf8", "us-ascii", "ascii"}, encoding) {
		return newDecodeError(fmt.Sprintf("the content encoding is %.60q: only utf-8 is read", encoding), hint)
	}
	return nil
}

var unreadableContentTypes = map[string]string{
	"application/x-python-serialize": "pickle", "application/x-yaml": "YAML", "application/x-msgpack": "msgpack",
	"application/data": "raw bytes", "text/plain": "raw text",
}

// body returns the bytes of the body, still compressed if it is.
func (e *envelope) body(encoding string, maxBytes int) ([]byte, error) {
	if err := e.checkContentType(); err != nil {
		return nil, err
	}
	body := unquoted(e.rawBody)
	switch strings.ToLower(encoding) {
	case "", "utf-8":
		body = bytes.Clone(body)
	case "base64":
		var err error
		if body, err = base64.StdEncoding.AppendDecode(make([]byte, 0, base64.StdEncoding.DecodedLen(len(body))), body); err != nil {
			return nil, newDecodeError("the body is bad base64: "+err.Error(), "the message was cut or changed on its way")
		}
	default:
		return nil, newDecodeError(fmt.Sprintf("the body encoding is %.60q: only base64 and utf-8 are read", encoding), "")
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
	mode                      int64 // 1 transient, 2 persistent; equal in Redis
	exchange, routingKey, tag string
	priority                  int
}

// appendEnvelopeEnd appends the properties from delivery_mode on, and ends the envelope.
func (d deliveryProperties) appendEnvelopeEnd(dst []byte) []byte {
	if d.tag == "" {
		d.tag = NewID()
	}
	dst = appendInt(dst, `"delivery_mode": `, d.mode)
	dst = appendString(dst, `, "delivery_info": {"exchange": `, d.exchange)
	dst = appendString(dst, `, "routing_key": `, d.routingKey)
	dst = appendInt(dst, `}, "priority": `, int64(d.priority))
	return append(appendString(dst, `, "body_encoding": "base64", "delivery_tag": `, d.tag), "}}"...)
}
