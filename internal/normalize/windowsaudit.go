package normalize

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/picket-edr/picket/sigma"
)

// eventFields are the fields that an event itself has.
type eventFields []sigma.Field

// get returns the value of a field, the last if it is repeated. Windows writes a
// dash for an empty value, for which get returns "".
func (o eventFields) get(name string) string {
	for k := len(o) - 1; k >= 0; k-- {
		if o[k].Name == name {
			if o[k].Value.Text == "-" {
				return ""
			}
			return o[k].Value.Text
		}
	}
	return ""
}

// deriveSecurity4688 adds the field names of Sysmon's process creation to Security 4688.
// Image and ParentImage are in windowsFieldAliases. ProcessId of 4688 is the creator's.
func deriveSecurity4688(dst []sigma.Field, eventStart int) []sigma.Field {
	o := eventFields(dst[eventStart:])
	dst = appendField(dst, "LogonId", o.get("SubjectLogonId"))
	dst = appendField(dst, "ProcessId", hexToDecimal(o.get("NewProcessId")))
	dst = appendField(dst, "ParentProcessId", hexToDecimal(o.get("ProcessId")))
	return appendField(dst, "User", windowsUser(o))
}

// windowsUser returns the user that a process runs as, which may not be the user
// who started it.
func windowsUser(fields eventFields) string {
	if name := fields.get("TargetUserName"); name != "" {
		return accountName(fields.get("TargetDomainName"), name)
	}
	return accountName(fields.get("SubjectDomainName"), fields.get("SubjectUserName"))
}

// accountName returns DOMAIN\name.
func accountName(domain, name string) string {
	if domain == "" || name == "" {
		return name
	}
	return domain + `\` + name
}

// hexToDecimal converts a hexadecimal number to decimal; it returns "" for anything
// else.
func hexToDecimal(s string) string {
	rest, ok := strings.CutPrefix(s, "0x")
	if !ok {
		return ""
	}
	n, err := strconv.ParseUint(rest, 16, 64)
	if err != nil {
		return ""
	}
	return strconv.FormatUint(n, 10)
}

// registryEventTypes are Sysmon's EventType by OperationType of Security 4657.
var registryEventTypes = map[string]string{
	"%%1904": "SetValue", "New registry value created": "SetValue",
	"%%1905": "SetValue", "Existing registry value modified": "SetValue",
	"%%1906": "DeleteValue", "Registry value deleted": "DeleteValue",
}

// deriveSecurity4657 adds the field names of Sysmon's registry events to Security 4657.
func deriveSecurity4657(dst []sigma.Field, eventStart int) []sigma.Field {
	o := eventFields(dst[eventStart:])
	if key := o.get("ObjectName"); key != "" {
		target := sysmonRegistryPath(key)
		if value := o.get("ObjectValueName"); value != "" {
			target += `\` + value
		}
		dst = appendField(dst, "TargetObject", target)
	}
	dst = appendField(dst, "EventType", registryEventTypes[o.get("OperationType")])
	dst = appendField(dst, "Details", sysmonDetails(o.get("NewValueType"), o.get("NewValue")))
	dst = appendField(dst, "Image", o.get("ProcessName"))
	dst = appendField(dst, "ProcessId", hexToDecimal(o.get("ProcessId")))
	return appendField(dst, "User", accountName(o.get("SubjectDomainName"), o.get("SubjectUserName")))
}

// sysmonRegistryPath converts a kernel's name of a registry key to Sysmon's: short names of
// hives, and the alias of the current control set.
func sysmonRegistryPath(key string) string {
	const machine, user, set = `\REGISTRY\MACHINE`, `\REGISTRY\USER`, `\SYSTEM\ControlSet00`
	if rest, ok := cutPrefixFold(key, machine); ok {
		if in, ok := cutPrefixFold(rest, set); ok && in != "" && '0' <= in[0] && in[0] <= '9' && (len(in) == 1 || in[1] == '\\') {
			return `HKLM\System\CurrentControlSet` + in[1:]
		}
		return "HKLM" + rest
	}
	if rest, ok := cutPrefixFold(key, user); ok {
		return "HKU" + rest
	}
	return key
}

// cutPrefixFold is strings.CutPrefix without regard to case.
func cutPrefixFold(s, prefix string) (rest string, found bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// sysmonDetails formats a registry value as Sysmon does, which depends on its type:
// Windows' code in Security events, a name in Elastic's events.
func sysmonDetails(valueType, value string) string {
	switch valueType {
	case "%%1876", "REG_DWORD", "SZ_DWORD":
		if n, err := strconv.ParseUint(value, 0, 32); err == nil {
			return fmt.Sprintf("DWORD (0x%08x)", n)
		}
	case "%%1883", "REG_QWORD", "SZ_QWORD":
		if n, err := strconv.ParseUint(value, 0, 64); err == nil {
			return fmt.Sprintf("QWORD (0x%08x-0x%08x)", n>>32, n&0xffffffff)
		}
	case "%%1875":
		return "Binary Data"
	}
	return value
}

// deriveDefenderThreat adds the field names of Sigma's antivirus category to Defender's
// events.
func deriveDefenderThreat(dst []sigma.Field, eventStart int) []sigma.Field {
	o := eventFields(dst[eventStart:])
	dst = appendField(dst, "Signature", o.get("ThreatName"))
	return appendField(dst, "Filename", o.get("Path"))
}
