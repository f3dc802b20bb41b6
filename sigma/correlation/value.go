package correlation

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strings"
)

// MaxValue is the length of values, in bytes, past which ShortValue shortens them.
const MaxValue = 256

// ShortValue returns v, or the start and a hash of v if it is longer than MaxValue.
// Values that differ stay different. A Correlator keeps values only in this form, so
// a number that is longer than MaxValue is not aggregated.
func ShortValue(v string) string {
	if len(v) <= MaxValue {
		return v
	}
	h := sha256.New()
	io.WriteString(h, v)
	return strings.ToValidUTF8(v[:MaxValue/2], "") + "…" + hex.EncodeToString(h.Sum(nil)[:16])
}
