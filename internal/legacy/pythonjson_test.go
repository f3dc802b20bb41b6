package legacy

import (
	"net/http/httptest"
	"testing"
)

// want is the output of json.dumps in Python 3.
func TestPythonJSON(t *testing.T) {
	for _, c := range []struct {
		v    any
		want string
	}{
		{orderedObject{}, `{}`},
		{orderedObject{{"a", 1}, {"b", nil}, {"c", true}, {"d", int64(-5)}}, `{"a": 1, "b": null, "c": true, "d": -5}`},
		{[]orderedObject{{{"a", []string{"x", "y"}}}, {}}, `[{"a": ["x", "y"]}, {}]`},
		{[]string{}, `[]`},
		{0.95, `0.95`}, {1.0, `1.0`}, {0.1, `0.1`},
		{"a, b: c", `"a, b: c"`},
		{"<b>&'\"\\/", `"<b>&'\"\\/"`},
		{"é€😀\u2028", `"\u00e9\u20ac\ud83d\ude00\u2028"`},
		{"\n\r\t\b\f\x00\x1f\x7f", `"\n\r\t\b\f\u0000\u001f\u007f"`},
		{"\xff", `"\ufffd"`},
	} {
		w := httptest.NewRecorder()
		if err := writePythonJSON(w, 200, c.v); err != nil || w.Body.String() != c.want {
			t.Errorf("%#v: %s, want %s", c.v, w.Body, c.want)
		}
	}
}
