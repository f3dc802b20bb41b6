package literalindex

import (
	"math"

	"github.com/picket-edr/picket/sigma/internal/word"
)

// Frequencies estimate how often sequences of four bytes occur in the values of
// events: from the literals of the rules themselves, since what occurs in many
// rules occurs in many events, and from CommonText.
type Frequencies struct {
	counts [1 << 16]uint32 // by hash
}

// NewCommonTextFrequencies returns the frequencies of CommonText.
func NewCommonTextFrequencies() *Frequencies {
	f := new(Frequencies)
	f.add(CommonText, 64)
	return f
}

// Add adds a literal of a rule.
func (f *Frequencies) Add(literal string) { f.add(literal, 1) }

func (f *Frequencies) add(text string, weight uint32) {
	for i := 0; i+4 <= len(text); i++ {
		f.counts[ngramAt(text, i, 4)*word.HashMultiplier32>>16] += weight
	}
}

// RarestFrequency returns the frequency of the rarest sequence of four bytes in text,
// which must not be shorter.
func (f *Frequencies) RarestFrequency(text string) uint32 {
	return f.ngramFrequency(text, f.rarestNgramRun(text, 4, 1))
}

// rarestNgramRun returns the index in text at which run consecutive n-grams of width
// bytes are rarest, added up. Shorter n-grams have no frequencies: all count as
// equal.
func (f *Frequencies) rarestNgramRun(text string, width, run int) (offset int) {
	least := uint32(math.MaxUint32)
	for i := 0; i+width+run-1 <= len(text); i++ {
		var n uint32
		for k := i; k < i+run && width == 4; k++ {
			n += f.ngramFrequency(text, k)
		}
		if n < least {
			offset, least = i, n
		}
	}
	return offset
}

func (f *Frequencies) ngramFrequency(text string, i int) uint32 {
	return f.counts[ngramAt(text, i, 4)*word.HashMultiplier32>>16]
}

// CommonText is a sample of what values of ordinary events contain, folded.
const CommonText = `c:\windows\system32\svchost.exe -k netsvcs -p -s c:\windows\system32\ c:\windows\syswow64\ ` +
	`c:\program files\ c:\program files (x86)\ c:\users\ \appdata\local\ \appdata\roaming\ \appdata\local\temp\ c:\programdata\ ` +
	`microsoft windows operating system microsoft corporation microsoft® windows® nt authority\system nt authority\network service ` +
	`\explorer.exe \cmd.exe \powershell.exe \rundll32.exe \services.exe \lsass.exe \wmiprvse.exe \conhost.exe \dllhost.exe ` +
	`cmd.exe powershell.exe c:\windows\system32\windowspowershell\v1.0\powershell.exe \ntdll.dll \kernelbase.dll \kernel32.dll ` +
	`hklm\software\microsoft\windows\currentversion\ hklm\system\currentcontrolset\services\ hku\s-1-5-21- \registry\machine\ ` +
	`dword (0x00000000) dword (0x00000001) binary data true false 0x1fffff 0x1000 0x1410 high medium system integrity ` +
	`https://www. http:// .com .local .dll .exe .log .tmp .ps1 get- set- new- write- param( function $_. -object -path ` +
	`/usr/bin/ /usr/sbin/ /bin/ /lib/ /etc/ /home/ /var/ /proc/ /tmp/ root bash`
