package normalize

import "github.com/picket-edr/picket/sigma"

// channelServices are Sigma's services by channel of the Windows event log, in lower
// case. Source: the logsource guides and configurations of the Sigma project.
var channelServices = map[string]string{
	"application":                          "application",
	"security":                             "security",
	"system":                               "system",
	"microsoft-windows-sysmon/operational": "sysmon",
	"microsoft-windows-powershell/operational":                           "powershell",
	"powershellcore/operational":                                         "powershell",
	"windows powershell":                                                 "powershell-classic",
	"microsoft-windows-ntlm/operational":                                 "ntlm",
	"microsoft-windows-taskscheduler/operational":                        "taskscheduler",
	"microsoft-windows-wmi-activity/operational":                         "wmi",
	"microsoft-windows-dhcp-server/operational":                          "dhcp",
	"microsoft-windows-printservice/admin":                               "printservice-admin",
	"microsoft-windows-printservice/operational":                         "printservice-operational",
	"microsoft-windows-smbclient/security":                               "smbclient-security",
	"microsoft-windows-smbclient/connectivity":                           "smbclient-connectivity",
	"microsoft-windows-smbserver/connectivity":                           "smbserver-connectivity",
	"microsoft-windows-terminalservices-localsessionmanager/operational": "terminalservices-localsessionmanager",
	"microsoft-windows-codeintegrity/operational":                        "codeintegrity-operational",
	"microsoft-windows-applocker/msi and script":                         "applocker",
	"microsoft-windows-applocker/exe and dll":                            "applocker",
	"microsoft-windows-applocker/packaged app-deployment":                "applocker",
	"microsoft-windows-applocker/packaged app-execution":                 "applocker",
	"msexchange management":                                              "msexchange-management",
	"microsoft-windows-windows defender/operational":                     "windefend",
	"microsoft-windows-windows firewall with advanced security/firewall": "firewall-as",
	"microsoft-windows-bits-client/operational":                          "bits-client",
	"microsoft-windows-security-mitigations/kernel mode":                 "security-mitigations",
	"microsoft-windows-security-mitigations/user mode":                   "security-mitigations",
	"microsoft-windows-diagnosis-scripted/operational":                   "diagnosis-scripted",
	"microsoft-windows-shell-core/operational":                           "shell-core",
	"openssh/operational":                                                "openssh",
	"microsoft-windows-ldap-client/debug":                                "ldap",
	"microsoft-windows-bitlocker/bitlocker management":                   "bitlocker",
	"microsoft-windows-vhdmp/operational":                                "vhdmp",
	"microsoft-windows-appxdeployment-server/operational":                "appxdeployment-server",
	"microsoft-windows-appxdeploymentserver/operational":                 "appxdeployment-server",
	"microsoft-windows-lsa/operational":                                  "lsa-server",
	"microsoft-windows-appxpackaging/operational":                        "appxpackaging-om",
	"microsoft-windows-dns client events/operational":                    "dns-client",
	"microsoft-windows-dns-client/operational":                           "dns-client",
	"dns server":                                                               "dns-server",
	"microsoft-windows-dns-server/audit":                                       "dns-server-audit",
	"microsoft-windows-dns-server/analytical":                                  "dns-server-analytic",
	"microsoft-windows-appmodel-runtime/admin":                                 "appmodel-runtime",
	"microsoft-windows-capi2/operational":                                      "capi2",
	"microsoft-windows-certificateservicesclient-lifecycle-system/operational": "certificateservicesclient-lifecycle-system",
	"microsoft-windows-kernel-shimengine/operational":                          "kernel-shimengine",
	"microsoft-windows-kernel-shimengine/diagnostic":                           "kernel-shimengine",
	"microsoft-windows-application-experience/program-telemetry":               "application-experience",
	"microsoft-windows-application-experience/program-compatibility-assistant": "application-experience",
	"microsoft-windows-ntfs/operational":                                       "ntfs",
	"microsoft-windows-hyper-v-worker":                                         "hyper-v-worker",
	"microsoft-windows-hyper-v-worker-admin":                                   "hyper-v-worker",
	"microsoft-windows-kernel-eventtracing":                                    "kernel-event-tracing",
	"microsoft-windows-kernel-eventtracing/admin":                              "kernel-event-tracing",
	"microsoft-windows-sense/operational":                                      "sense",
	"microsoft-servicebus-client/admin":                                        "servicebus-client",
	"microsoft-servicebus-client/operational":                                  "servicebus-client",
	"microsoft-iis-configuration/operational":                                  "iis-configuration",
	"microsoft-windows-driverframeworks-usermode/operational":                  "driver-framework",
	"microsoft-windows-wmi-activity/trace":                                     "wmi",
	// Sysmon for Linux uses the same event ids.
	"linux-sysmon/operational": "sysmon",
	// By provider, for senders that omit the channel.
	"microsoft-windows-sysmon":                               "sysmon",
	"linux-sysmon":                                           "sysmon",
	"microsoft-windows-security-auditing":                    "security",
	"microsoft-windows-powershell":                           "powershell",
	"powershell":                                             "powershell-classic",
	"microsoft-windows-windows defender":                     "windefend",
	"microsoft-windows-taskscheduler":                        "taskscheduler",
	"microsoft-windows-wmi-activity":                         "wmi",
	"microsoft-windows-codeintegrity":                        "codeintegrity-operational",
	"microsoft-windows-bits-client":                          "bits-client",
	"microsoft-windows-dns-client":                           "dns-client",
	"microsoft-windows-dns-server-service":                   "dns-server",
	"microsoft-windows-ntlm":                                 "ntlm",
	"microsoft-windows-printservice":                         "printservice-operational",
	"microsoft-windows-terminalservices-localsessionmanager": "terminalservices-localsessionmanager",
}

// serviceAliases are second names of services in rules.
var serviceAliases = map[string][]string{
	"servicebus-client": {"microsoft-servicebus-client"},
	"ldap":              {"ldap_debug"},
}

// windowsEventCategories are Sigma's categories by service and EventID.
var windowsEventCategories = map[string]map[string][]string{
	"sysmon": {
		"1": {"process_creation"}, "2": {"file_change"}, "3": {"network_connection"}, "4": {"sysmon_status"},
		"5": {"process_termination"}, "6": {"driver_load"}, "7": {"image_load"}, "8": {"create_remote_thread"},
		"9": {"raw_access_thread"}, "10": {"process_access"}, "11": {"file_event"},
		"12": {"registry_event"}, "13": {"registry_set", "registry_event"}, "14": {"registry_rename", "registry_event"},
		"15": {"create_stream_hash"}, "16": {"sysmon_status"}, "17": {"pipe_created"}, "18": {"pipe_created"},
		"19": {"wmi_event"}, "20": {"wmi_event"}, "21": {"wmi_event"}, "22": {"dns_query"}, "23": {"file_delete"},
		"24": {"clipboard_change", "clipboard_capture"}, "25": {"process_tampering"}, "26": {"file_delete_detected"},
		"27": {"file_block_executable"}, "28": {"file_block_shredding"}, "29": {"file_executable_detected"}, "255": {"sysmon_error"},
		// 12 depends on EventType.
		"12+CreateKey": {"registry_add", "registry_event"}, "12+DeleteKey": {"registry_delete", "registry_event"},
		"12+DeleteValue": {"registry_delete", "registry_event"},
	},
	"security": {
		"4688": {"process_creation"},
		// 4657 depends on OperationType, as code or rendered. Sysmon reports a new
		// value as a value set, so a created value is in that category too.
		"4657":                                  {"registry_event"},
		"4657+%%1904":                           {"registry_add", "registry_set", "registry_event"},
		"4657+New registry value created":       {"registry_add", "registry_set", "registry_event"},
		"4657+%%1905":                           {"registry_set", "registry_event"},
		"4657+Existing registry value modified": {"registry_set", "registry_event"},
		"4657+%%1906":                           {"registry_delete", "registry_event"},
		"4657+Registry value deleted":           {"registry_delete", "registry_event"},
	},
	"powershell":         {"4103": {"ps_module"}, "4104": {"ps_script"}},
	"powershell-classic": {"400": {"ps_classic_start"}, "600": {"ps_classic_provider_start"}, "800": {"ps_classic_script"}},
	"windefend": {
		"1006": {"antivirus"}, "1007": {"antivirus"}, "1008": {"antivirus"}, "1009": {"antivirus"}, "1010": {"antivirus"},
		"1011": {"antivirus"}, "1012": {"antivirus"}, "1017": {"antivirus"}, "1018": {"antivirus"}, "1019": {"antivirus"},
		"1115": {"antivirus"}, "1116": {"antivirus"},
	},
}

// windowsFieldAliases are second names of fields of Windows events. An event has the value
// under both.
var windowsFieldAliases = map[string][]string{
	// Security 4688 as process_creation.
	"*.NewProcessName":    {"Image"},
	"*.ParentProcessName": {"ParentImage"},
	"*.MandatoryLabel":    {"IntegrityLevel"},
}

// fieldDerivers are functions that compute further fields, by service and EventID.
var fieldDerivers = map[string]map[string]func(dst []sigma.Field, from int) []sigma.Field{
	"security":  {"4688": deriveSecurity4688, "4657": deriveSecurity4657},
	"windefend": mapAllKeysTo(windowsEventCategories["windefend"], deriveDefenderThreat),
}

// mapAllKeysTo returns a map from every key of table to value.
func mapAllKeysTo[F any](table map[string][]string, value F) map[string]F {
	m := make(map[string]F, len(table))
	for id := range table {
		m[id] = value
	}
	return m
}

// eventVariantPaths are the paths that distinguish events with the same EventID.
type eventVariantPaths struct{ eventType, operation string }

func eventVariantPathsUnder(pathPrefix string) eventVariantPaths {
	return eventVariantPaths{pathPrefix + "EventType", pathPrefix + "OperationType"}
}

// variantOf returns the variant of an event, "" if its EventID has none.
func (p eventVariantPaths) variantOf(d *Event, eventID string) string {
	switch eventID {
	case "12":
		return d.value(p.eventType)
	case "4657":
		return d.value(p.operation)
	}
	return ""
}

// windowsClass returns the class of an event of the Windows event log. complete
// adds what is particular to a format to a new class.
func windowsClass(r *Reader, channel, eventID, variant string, complete func(*Class)) *Class {
	// The case of channels varies; the buffer avoids an allocation.
	var buf [96]byte
	low := appendLower(buf[:0], channel)
	service, product := channelServices[string(low)], "windows"
	if len(low) >= len(linuxSysmonChannelPrefix) && string(low[:len(linuxSysmonChannelPrefix)]) == linuxSysmonChannelPrefix {
		product = "linux"
	}
	of, id := windowsEventCategories[service], eventID
	names, ok := of[eventID]
	if !ok {
		eventID, id = "", "" // values of the event must not be in the key, which would create many classes
	} else if variant != "" {
		if more, ok := of[eventID+"+"+variant]; ok {
			eventID, names = eventID+"+"+variant, more
		}
	}
	key := classKey{os: product, typ: service, more: eventID}
	if complete != nil {
		key.format = classKeyAnyECS
	}
	return r.internClass(key, func() Class {
		rt := newWindowsClass(product, service, names)
		rt.derive = fieldDerivers[service][id]
		if complete != nil {
			complete(&rt)
		}
		return rt
	})
}

// linuxSysmonChannelPrefix is the prefix of the channel and the provider of Sysmon for Linux.
const linuxSysmonChannelPrefix = "linux-sysmon"

// newWindowsClass returns a class whose type is the first category or, without
// categories, the service.
func newWindowsClass(product, service string, categories []string) Class {
	rt := Class{Type: product, OS: product}
	if service != "" {
		rt.Type = service
	}
	if len(categories) == 0 {
		rt.Sources = append(rt.Sources, sigma.LogSource{Product: product, Service: service})
	} else {
		rt.Type = categories[0]
	}
	for _, category := range categories {
		rt.Sources = append(rt.Sources, sigma.LogSource{Product: product, Category: category, Service: service})
	}
	for _, alias := range serviceAliases[service] {
		rt.Sources = append(rt.Sources, sigma.LogSource{Product: product, Service: alias})
	}
	return rt
}

func appendLower(dst []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		dst = append(dst, c)
	}
	return dst
}
