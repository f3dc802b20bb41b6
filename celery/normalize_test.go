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
		{`[{"__value__":"1.10","__type__":"decimal"}]`, `["1.10"]`},
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

// TestRepr has the texts of Python's repr(json.loads(src)).
func TestRepr(t *testing.T) {
	for _, test := range []struct{ src, want string }{
		{`{"a": 1, "b": null, "c": true, "d": [false, {}, []]}`, `{'a': 1, 'b': None, 'c': True, 'd': [False, {}, []]}`},
		{`["it's", "\"", "both '\"", "\n\t\r\\\u0000\u00ff\u00a0\u2028\ud83d\ude00", "\ue000\udbff\udfff"]`,
			`["it's", '"', 'both \'"', '\n\t\r\\\x00ÿ\xa0\u2028😀', '\ue000\U0010ffff']`},
		{`[1.0, 1e5, 1e16, 1e-5, 0.0001, -0.0, 123456789012345678901234567890, NaN, Infinity, -Infinity]`,
			`[1.0, 100000.0, 1e+16, 1e-05, 0.0001, -0.0, 123456789012345678901234567890, nan, inf, -inf]`},
		{` { "a" : [ 1 , 2 ] } `, `{'a': [1, 2]}`},
		{`["a", oops`, `['a', `},
		{`{"a"`, `{'a'`},
		{``, ``},
	} {
		if got := string(celery.Repr([]byte("> "), []byte(test.src), 0)); got != "> "+test.want {
			t.Errorf("Repr(%s) =\n%s, want\n%s", test.src, got, test.want)
		}
	}
}

func TestReprCut(t *testing.T) {
	src := []byte(`["ääää", "` + strings.Repeat("ö", 1<<20) + `"]`)
	for max := 1; max < 30; max++ {
		got := string(celery.Repr([]byte("> "), src, max))
		if len(got)-2 > max || max >= 3 && !strings.HasSuffix(got, "...") || !strings.HasPrefix(`> ['ääää', 'öööööööööööööööö`, strings.TrimSuffix(got, "...")) {
			t.Errorf("cut at %d: %q", max, got)
		}
	}
	if got := string(celery.Repr(nil, []byte(`"abc"`), 5)); got != "'abc'" {
		t.Errorf("got %q", got)
	}
}
