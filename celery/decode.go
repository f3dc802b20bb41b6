package celery

import (
	"bytes"
	"cmp"
	"compress/bzip2"
	"compress/gzip"
	"compress/zlib"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// A Decoder decodes tasks. Its zero value is ready to use. It is safe for concurrent
// use.
type Decoder struct {
	// MaxBody bounds the bytes of a decoded and decompressed body; 0 means 64 MiB.
	MaxBody int
	// Decompress are further decompressors by their name in messages, for instance
	// "application/zstd". zlib ("application/x-gzip") and bzip2 are built in.
	Decompress map[string]func(src []byte) (io.ReadCloser, error)
}

const defaultMaxBodyBytes = 64 << 20

// Decode decodes a task of protocol version 2 from its envelope. It keeps no part of
// the envelope's memory, but Args and Kwargs share a block with the rest of the body.
//
// An error is a *DecodeError and means that the message can never be decoded. If only
// the headers could be decoded, the task is returned too, so that its failure can be
// reported.
func (d *Decoder) Decode(envelope []byte) (*Task, error) {
	e, err := parseEnvelope(envelope)
	if err != nil {
		return nil, err
	}
	t := &Task{GroupIndex: -1}
	compression, headersErr := t.readHeaders(e.headers)
	bodyEncoding, propertiesErr := t.readProperties(e.properties)
	if t.Name == "" || t.ID == "" {
		return nil, newDecodeError("the message isn't a task of protocol 2: its headers name none",
			"set task_protocol = 2 (the default) in the producer's Celery settings")
	}
	if err := cmp.Or(headersErr, propertiesErr); err != nil {
		return t, newDecodeError("the task's headers are bad: "+err.Error(), "")
	}
	body, err := d.decodeBody(&e, bodyEncoding, compression)
	if err != nil {
		return t, err
	}
	if err := t.readBody(body); err != nil {
		return t, newDecodeError("the body is bad: "+err.Error(), "")
	}
	return t, nil
}

func (t *Task) readHeaders(headers []byte) (compression string, err error) {
	var badTime error
	parse := func(key, value []byte) time.Time {
		at, err := parseTime(value)
		if err != nil {
			badTime = fmt.Errorf("%s: %w", key, err)
		}
		return at
	}
	err = eachMember(headers, func(key, value []byte) {
		switch string(key) {
		case "lang":
		case "task":
			t.Name = valueText(value)
		case "id":
			t.ID = valueText(value)
		case "shadow":
			t.Shadow = valueText(value)
		case "eta":
			t.ETA = parse(key, value)
		case "expires":
			t.Expires = parse(key, value)
		case "group":
			t.GroupID = valueText(value)
		case "group_index":
			t.GroupIndex = integerOr(value, -1)
		case "retries":
			t.Retries = integerOr(value, 0)
		case "root_id":
			t.RootID = t.internID(value)
		case "parent_id":
			t.ParentID = t.internID(value)
		case "argsrepr":
			t.ArgsRepr = valueText(value)
		case "kwargsrepr":
			t.KwargsRepr = valueText(value)
		case "origin":
			t.Origin = valueText(value)
		case "ignore_result":
			t.IgnoreResult = string(value) == "true"
		case "compression":
			compression = valueText(value)
		default:
			if unparsedHeaders[string(key)] != string(value) {
				if t.Headers == nil {
					t.Headers = make(map[string]json.RawMessage, 4)
				}
				t.Headers[string(key)] = bytes.Clone(value)
			}
		}
	})
	return compression, cmp.Or(err, badTime)
}

// internID returns an ID, which shares the memory of the task's own ID if it is the
// same.
func (t *Task) internID(value []byte) string {
	if n := len(t.ID); len(value) == n+2 && string(value[1:n+1]) == t.ID {
		return t.ID
	}
	return valueText(value)
}

func (t *Task) readProperties(properties []byte) (bodyEncoding string, err error) {
	if len(properties) == 0 {
		return "", nil
	}
	err = eachMember(properties, func(key, value []byte) {
		switch string(key) {
		case "correlation_id":
			t.CorrelationID = t.internID(value)
		case "reply_to":
			t.ReplyTo = valueText(value)
		case "priority":
			t.Priority = min(max(integerOr(value, 0), 0), 9)
		case "delivery_tag":
			t.DeliveryTag = valueText(value)
		case "body_encoding":
			bodyEncoding = "base64"
			if string(value) != `"base64"` {
				bodyEncoding = valueText(value)
			}
		case "delivery_info":
			t.Exchange, t.RoutingKey = valueText(member(value, "exchange")), valueText(member(value, "routing_key"))
		}
	})
	return bodyEncoding, err
}

// readBody decodes `[args, kwargs, embed]`.
func (t *Task) readBody(body []byte) error {
	if err := checkUTF8(body); err != nil {
		return err
	}
	i, isTask := 0, true
	err := eachElement(body, func(value []byte) {
		i++
		switch {
		case i == 1 && value[0] == '[':
			t.Args = value
		case i == 2 && value[0] == '{':
			t.Kwargs = value
		case i == 3 && value[0] == '{':
			if string(value) != emptyEmbedJSON {
				t.Embed = value
			}
		default:
			isTask = false
		}
	})
	if err == nil && (i < 2 || !isTask) {
		err = errors.New("it isn't [args, kwargs, embed]")
	}
	return err
}

// decodeBody returns the body's JSON, decompressed but not checked. compression is kombu's
// name of the compression or an alias.
//
// Source: kombu/compression.py.
func (d *Decoder) decodeBody(e *envelope, encoding, compression string) (bodyJSON []byte, err error) {
	maxBytes := cmp.Or(d.MaxBody, defaultMaxBodyBytes)
	body, err := e.body(encoding, maxBytes)
	if err != nil || compression == "" {
		return body, err
	}
	open := d.Decompress[compression]
	if open == nil {
		open = decompressors[compression]
	}
	if open == nil {
		return nil, newDecodeError(fmt.Sprintf("the body is compressed as %.60q, which is not read", compression),
			"set task_compression = 'zlib' in the producer's Celery settings")
	}
	r, err := open(body)
	if err == nil {
		defer r.Close()
		body, err = io.ReadAll(io.LimitReader(r, int64(maxBytes)+1))
	}
	switch {
	case err != nil:
		return nil, newDecodeError(fmt.Sprintf("the body is bad %.60s: %v", compression, err), "the message was cut or changed on its way")
	case len(body) > maxBytes:
		return nil, bodyTooLargeError(maxBytes)
	}
	return body, nil
}

var decompressors = map[string]func(src []byte) (io.ReadCloser, error){
	"application/x-gzip": newGzipOrZlibReader, "gzip": newGzipOrZlibReader, "zlib": newGzipOrZlibReader,
	"application/x-bz2": newBzip2Reader, "bzip2": newBzip2Reader, "bzip": newBzip2Reader,
}

func newGzipOrZlibReader(src []byte) (io.ReadCloser, error) {
	if bytes.HasPrefix(src, []byte{0x1f, 0x8b}) {
		return gzip.NewReader(bytes.NewReader(src))
	}
	return zlib.NewReader(bytes.NewReader(src))
}

func newBzip2Reader(src []byte) (io.ReadCloser, error) {
	return io.NopCloser(bzip2.NewReader(bytes.NewReader(src))), nil
}

// The formats of Python's isoformat, and a few others that producers in other languages
// write. Go parses fractions of a second in all of them.
var timeLayouts = [...]string{
	"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05", "2006-01-02T15:04:05Z0700",
	"2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02",
}

// parseTime parses an isoformat time; one without a zone is UTC. Empty and null are the
// zero time.
func parseTime(value []byte) (time.Time, error) {
	s := valueText(value)
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%.60q is no ISO 8601 time", s)
}
