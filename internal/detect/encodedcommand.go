package detect

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
	"unicode"
	"unicode/utf16"

	"github.com/picket-edr/picket/sigma"
)

// Bounds of what DecodedCommand reads.
const (
	maxSearchedCommandLineBytes = 64 << 10
	maxEncodedCommandBytes      = 8 << 10 // of Base64; a multiple of 4
	minEncodedCommandBytes      = 8
)

// DecodedCommand returns the script that a command line passes to PowerShell's
// -EncodedCommand, or its start: Base64 of UTF-16. It returns "" if there is none that
// is text.
func DecodedCommand(commandLine string) string {
	isValue := false
	for word := range strings.FieldsSeq(commandLine[:min(len(commandLine), maxSearchedCommandLineBytes)]) {
		if isValue {
			if script := decodeCommand(word); script != "" {
				return script
			}
		}
		isValue = isEncodedCommandFlag(word)
	}
	return ""
}

// isEncodedCommandFlag reports whether PowerShell takes a word for -EncodedCommand: any
// start of the name will do, after any dash or a slash.
func isEncodedCommandFlag(word string) bool {
	name := strings.TrimLeft(word, "-/\u2013\u2014\u2015")
	if len(name) == len(word) || name == "" {
		return false
	}
	name = strings.ToLower(name)
	return name == "ec" || strings.HasPrefix("encodedcommand", name)
}

func decodeCommand(word string) string {
	word = strings.TrimRight(strings.Trim(word, `"'`), "=")
	if len(word) < minEncodedCommandBytes {
		return ""
	}
	b, err := base64.RawStdEncoding.DecodeString(word[:min(len(word), maxEncodedCommandBytes)])
	if err != nil || len(b)%2 != 0 {
		return ""
	}
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	runes := utf16.Decode(units)
	if len(b) == maxEncodedCommandBytes*3/4 {
		runes = runes[:len(runes)-1] // it may be half a character
	}
	ascii := 0
	for _, r := range runes {
		if !unicode.IsPrint(r) && !unicode.IsSpace(r) || r == unicode.ReplacementChar {
			return ""
		}
		if r < unicode.MaxASCII {
			ascii++
		}
	}
	if ascii < len(runes)/2 { // other bytes than UTF-16 mostly decode to Chinese
		return ""
	}
	return string(runes)
}

// DecodedEvidenceSuffix ends the field of evidence that is the script of an encoded command.
const DecodedEvidenceSuffix = " (decoded)"

// withDecodedCommands adds the script of each encoded command in evidence after it.
func withDecodedCommands(why []sigma.Evidence) []sigma.Evidence {
	for i := 0; i < len(why); i++ {
		script := DecodedCommand(why[i].Value)
		if script == "" {
			continue
		}
		more := make([]sigma.Evidence, 0, len(why)+1)
		more = append(append(more, why[:i+1]...), sigma.Evidence{Field: why[i].Field + DecodedEvidenceSuffix, Value: script})
		why = append(more, why[i+1:]...)
		i++
	}
	return why
}
