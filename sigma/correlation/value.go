package correlation

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strings"
)

// MaxValueBytes is the length of values, in bytes, past which ShortenValue shortens them.
const MaxValueBytes = 256

// ShortenValue returns v, or the start and a hash of v if it is longer than MaxValueBytes.
// Values that differ stay different. A Correlator keeps values only in this form, so
// a number that is longer than MaxValueBytes is not aggregated.
func ShortenValue(v string) string {
	if len(v) <= MaxValueBytes {
		return v
	}
	h := sha256.New()
	io.WriteString(h, v)
	return strings.ToValidUTF8(v[:MaxValueBytes/2], "") + "…" + hex.EncodeToString(h.Sum(nil)[:16])
}
