package celery

import (
	"bytes"
	"strconv"
	"time"

	"github.com/picket-edr/picket/internal/jsonescape"
)

// The functions of this file append a member of an object as Python's json.dumps writes
// it. prefix is what precedes its value: `, "id": `.

func appendString(dst []byte, prefix, s string) []byte {
	return jsonescape.AppendASCII(append(dst, prefix...), s)
}

// appendStringOrNull appends null for an empty string.
func appendStringOrNull(dst []byte, prefix, s string) []byte {
	if s == "" {
		return append(append(dst, prefix...), "null"...)
	}
	return appendString(dst, prefix, s)
}

// appendRawOr appends a value as written, or fallback if there is none.
func appendRawOr(dst []byte, prefix string, value []byte, fallback string) []byte {
	dst = append(dst, prefix...)
	if len(value) == 0 {
		return append(dst, fallback...)
	}
	return append(dst, value...)
}

func appendInt(dst []byte, prefix string, n int64) []byte {
	return strconv.AppendInt(append(dst, prefix...), n, 10)
}

func appendBool(dst []byte, prefix string, b bool) []byte {
	return strconv.AppendBool(append(dst, prefix...), b)
}

// appendFloat appends f as Python's repr writes it: 2.0, 1e+20.
func appendFloat(dst []byte, prefix string, f float64) []byte {
	dst = append(dst, prefix...)
	format := byte('f')
	if abs := max(f, -f); abs != 0 && (abs < 1e-4 || abs >= 1e16) {
		format = 'e'
	}
	start := len(dst)
	dst = strconv.AppendFloat(dst, f, format, -1, 64)
	if format == 'f' && bytes.IndexByte(dst[start:], '.') < 0 {
		dst = append(dst, ".0"...)
	}
	return dst
}

// appendTime appends t as datetime.isoformat does, in UTC, or null.
func appendTime(dst []byte, prefix string, t time.Time) []byte {
	dst = append(dst, prefix...)
	if t.IsZero() {
		return append(dst, "null"...)
	}
	layout := `"2006-01-02T15:04:05.000000+00:00"`
	if t.Nanosecond() < 1000 {
		layout = `"2006-01-02T15:04:05+00:00"`
	}
	return t.UTC().AppendFormat(dst, layout)
}

// appendTimestamp appends t as time.time returns it: seconds since 1970, to the
// microsecond.
func appendTimestamp(dst []byte, prefix string, t time.Time) []byte {
	if t.IsZero() {
		return appendFloat(dst, prefix, 0)
	}
	return appendFloat(dst, prefix, float64(t.UnixMicro())/1e6)
}
