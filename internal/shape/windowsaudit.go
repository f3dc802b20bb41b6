package shape

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/picket-edr/picket/sigma"
)

// own are the fields that an event has already.
type own []sigma.Field

// get returns the value of a field, the last if it is there twice, and "" for
// the dash that Windows writes where there is none.
func (o own) get(name string) string {
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

// auditedProcess gives Security 4688 the names that Sysmon's process creation
// has. Image and ParentImage are plain renames (see renames). Windows' own
// ProcessId is the creator's.
func auditedProcess(dst []sigma.Field, from int) []sigma.Field {
	o := own(dst[from:])
	dst = appendField(dst, "LogonId", o.get("SubjectLogonId"))
	dst = appendField(dst, "ProcessId", decimal(o.get("NewProcessId")))
	dst = appendField(dst, "ParentProcessId", decimal(o.get("ProcessId")))
	return appendField(dst, "User", windowsUser(o))
}

// windowsUser is whom a process runs as: another than the one who started it
// where the event says so.
func windowsUser(o own) string {
	if name := o.get("TargetUserName"); name != "" {
		return account(o.get("TargetDomainName"), name)
	}
	return account(o.get("SubjectDomainName"), o.get("SubjectUserName"))
}

// account is how Windows writes an account with its domain.
func account(domain, name string) string {
	if domain == "" || name == "" {
		return name
	}
	return domain + `\` + name
}

// decimal turns a number in hex into a decimal one; any other is none.
func decimal(s string) string {
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

// registryTypes are Sysmon's EventType of what 4657 calls OperationType.
var registryTypes = map[string]string{
	"%%1904": "SetValue", "New registry value created": "SetValue",
	"%%1905": "SetValue", "Existing registry value modified": "SetValue",
	"%%1906": "DeleteValue", "Registry value deleted": "DeleteValue",
}

// auditedRegistry gives Security 4657 the names that Sysmon's registry events
// have.
func auditedRegistry(dst []sigma.Field, from int) []sigma.Field {
	o := own(dst[from:])
	if key := o.get("ObjectName"); key != "" {
		target := sysmonKey(key)
		if value := o.get("ObjectValueName"); value != "" {
			target += `\` + value
		}
		dst = appendField(dst, "TargetObject", target)
	}
	dst = appendField(dst, "EventType", registryTypes[o.get("OperationType")])
	dst = appendField(dst, "Details", sysmonDetails(o.get("NewValueType"), o.get("NewValue")))
	dst = appendField(dst, "Image", o.get("ProcessName"))
	dst = appendField(dst, "ProcessId", decimal(o.get("ProcessId")))
	return appendField(dst, "User", account(o.get("SubjectDomainName"), o.get("SubjectUserName")))
}

// sysmonKey writes a kernel's name of a registry key as Sysmon does: hives by
// their short names, and the control set in use by its alias.
func sysmonKey(key string) string {
	const machine, user, set = `\REGISTRY\MACHINE`, `\REGISTRY\USER`, `\SYSTEM\ControlSet00`
	if rest, ok := cutFold(key, machine); ok {
		if in, ok := cutFold(rest, set); ok && in != "" && '0' <= in[0] && in[0] <= '9' && (len(in) == 1 || in[1] == '\\') {
			return `HKLM\System\CurrentControlSet` + in[1:]
		}
		return "HKLM" + rest
	}
	if rest, ok := cutFold(key, user); ok {
		return "HKU" + rest
	}
	return key
}

// cutFold cuts a prefix in any case.
func cutFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// sysmonDetails writes a registry value as Sysmon does, who tells numbers by
// their type. Types are Windows' codes in Security events, and Elastic's names.
func sysmonDetails(typ, value string) string {
	switch typ {
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

// defenderThreat gives Defender's finds the names of rules for any antivirus.
func defenderThreat(dst []sigma.Field, from int) []sigma.Field {
	o := own(dst[from:])
	dst = appendField(dst, "Signature", o.get("ThreatName"))
	return appendField(dst, "Filename", o.get("Path"))
}
