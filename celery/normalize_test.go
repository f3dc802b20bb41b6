package celery_test

import (
	"strings"
	"testing"

	"github.com/picket-edr/picket/celery"
)

func TestPlain(t *testing.T) {
	for _, test := range []struct{ src, want string }{
		{`{"a": [1, 2.5e3, true, null, "x"]}`, ""},
		{` [ ] `, ""},
		{`"NaN"`, ""},
		{`["Infinity", {"NaN": 1}, -1]`, ""},
		{`NaN`, `"NaN"`},
		{`[NaN,Infinity , -Infinity, -1, {"k":NaN}]`, `["NaN","Infinity" , "-Infinity", -1, {"k":"NaN"}]`},
		{`{"__type__": "datetime", "__value__": "2026-11-23T20:20:34"}`, `"2026-11-23T20:20:34"`},
		{`[{"__type__":"decimal","__value__":"1.10"}]`, `["1.10"]`},
		{`[{"__value__":"1.10","__type__":"decimal"}]`, ``}, // an order that kombu never writes
		{`{"d": {"__type__": "date", "__value__": "2026-11-23"}, "e": 1}`, `{"d": "2026-11-23", "e": 1}`},
		{`{"__type__": "time", "__value__": "20:20"}`, `"20:20"`},
		{`{"__type__": "bytes", "__value__": "a\"b"}`, `"a\"b"`},
		{`{"__type__": "base64", "__value__": "/wA="}`, `"/wA="`},
		{`{"__type__": "uuid", "__value__": {"hex": "89105af8f2a14c11b23323160e984f02"}}`, `"89105af8-f2a1-4c11-b233-23160e984f02"`},
		// Not what kombu writes: as it is, but for what is inside.
		{`{"__type__": "uuid", "__value__": {"hex": "zz105af8f2a14c11b23323160e984f02"}}`, ""},
		{`{"__type__": "uuid", "__value__": {"int": "1"}}`, ""},
		{`{"__type__": "own", "__value__": "x"}`, ""},
		{`{"__type__": "own", "__value__": {"x": NaN}}`, `{"__type__": "own", "__value__": {"x": "NaN"}}`},
		{`{"__type__": "date", "__value__": "x", "more": 1}`, ""},
		{`{"__type__": "date"}`, ""},
		{`{"__type__": "date", "__type__": "time"}`, ""},
		{`{"__value__": "x", "__value__": "y"}`, ""},
		{`{"__type__": 1, "__value__": NaN}`, `{"__type__": 1, "__value__": "NaN"}`},
		{`{"__type__": "date", "__value__": 5}`, ""},
		{`{"__value__": {}, "__type__": "uuid"}`, ""},
		{`{"__init__": {"__type__": "date", "__value__": "2026-11-23"}}`, `{"__init__": "2026-11-23"}`},
	} {
		got, err := celery.NormalizeJSON(make([]byte, 7, 100), []byte(test.src))
		want := test.want
		if want == "" {
			want = test.src
		}
		if err != nil || string(got) != want {
			t.Errorf("Plain(%s) = %s, %v, want %s", test.src, got, err, want)
		}
	}
	src := []byte(`{"a": 1}`)
	if got, _ := celery.NormalizeJSON(nil, src); &got[0] != &src[0] {
		t.Error("what needs no change is copied")
	}
}

func TestPlainRefuses(t *testing.T) {
	for _, src := range []string{
		"", " ", "nan", "Nan", "-", "-NaN", "+Infinity", "01", "1.", ".5", "1e", "tru", "nulll", `"`, `"\x"`, `"\u12g4"`, "\"\n\"", "\"\x00\"", "\"\xff\"",
		"[", "[1", "[1,", "[1,]", "[,]", "{", `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{a:1}`, `{1:1}`, "[] []", "]",
		strings.Repeat("[", 2000) + strings.Repeat("]", 2000), strings.Repeat(`{"a":`, 2000) + "1" + strings.Repeat("}", 2000),
	} {
		if got, err := celery.NormalizeJSON(nil, []byte(src)); err == nil {
			t.Errorf("Plain(%.40q) = %.40q", src, got)
		}
	}
}

// TestRepr has the texts of Python's repr.
func TestRepr(t *testing.T) {
	for _, test := range []struct{ src, want string }{
		{`plain`, `'plain'`}, {``, `''`}, {`it's`, `"it's"`}, {`"`, `'"'`}, {`both '"`, `'both \'"'`},
		{"\n\t\r\\\x00\u00ff\u00a0\u2028\U0001f600", `'\n\t\r\\\x00ÿ\xa0\u2028😀'`},
		{"\ue000\U0010ffff", `'\ue000\U0010ffff'`},
	} {
		if got := celery.Repr(test.src); got != test.want {
			t.Errorf("Repr(%q) = %s, want %s", test.src, got, test.want)
		}
	}
}
