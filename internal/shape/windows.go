package shape

import (
	"strings"

	"github.com/picket-edr/picket/sigma"
)

// services is Sigma's name for each channel of the Windows event log, by the
// channel in lower case. Source: the logsource guides and configurations of
// the Sigma project.
var services = map[string]string{
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
	// Sysmon for Linux writes the events of the same numbers.
	"linux-sysmon/operational": "sysmon",
}

// categories are Sigma's categories of the events of a service, by EventID.
var categories = map[string]map[string][]string{
	"sysmon": {
		"1": {"process_creation"}, "2": {"file_change"}, "3": {"network_connection"}, "4": {"sysmon_status"},
		"5": {"process_termination"}, "6": {"driver_load"}, "7": {"image_load"}, "8": {"create_remote_thread"},
		"9": {"raw_access_thread"}, "10": {"process_access"}, "11": {"file_event"},
		"12": {"registry_event"}, "13": {"registry_set", "registry_event"}, "14": {"registry_rename", "registry_event"},
		"15": {"create_stream_hash"}, "16": {"sysmon_status"}, "17": {"pipe_created"}, "18": {"pipe_created"},
		"19": {"wmi_event"}, "20": {"wmi_event"}, "21": {"wmi_event"}, "22": {"dns_query"}, "23": {"file_delete"},
		"24": {"clipboard_change", "clipboard_capture"}, "25": {"process_tampering"}, "26": {"file_delete_detected"},
		"27": {"file_block_executable"}, "28": {"file_block_shredding"}, "29": {"file_executable_detected"}, "255": {"sysmon_error"},
		// 12 by its EventType.
		"12+CreateKey": {"registry_add", "registry_event"}, "12+DeleteKey": {"registry_delete", "registry_event"},
		"12+DeleteValue": {"registry_delete", "registry_event"},
	},
	"security":           {"4688": {"process_creation"}},
	"powershell":         {"4103": {"ps_module"}, "4104": {"ps_script"}},
	"powershell-classic": {"400": {"ps_classic_start"}, "600": {"ps_classic_provider_start"}, "800": {"ps_classic_script"}},
	"windefend": {
		"1006": {"antivirus"}, "1007": {"antivirus"}, "1008": {"antivirus"}, "1009": {"antivirus"}, "1010": {"antivirus"},
		"1011": {"antivirus"}, "1012": {"antivirus"}, "1017": {"antivirus"}, "1018": {"antivirus"}, "1019": {"antivirus"},
		"1115": {"antivirus"}, "1116": {"antivirus"},
	},
}

// renames are further names of fields of Windows events: an event has the
// value under both.
var renames = map[string][]string{
	// Security 4688 as process_creation.
	"*.NewProcessName":    {"Image"},
	"*.ParentProcessName": {"ParentImage"},
}

// windowsRoute is the route of an event of the Windows event log.
func windowsRoute(r *Reader, channel, eventID, eventType string) *Route {
	// Channels come in any case; the buffer keeps the look-up free of garbage.
	var buf [96]byte
	service := services[string(lower(buf[:0], channel))]
	product := "windows"
	if len(channel) == len("Linux-Sysmon/Operational") && strings.EqualFold(channel, "Linux-Sysmon/Operational") {
		product = "linux"
	}
	of := categories[service]
	names, ok := of[eventID]
	if !ok {
		eventID = "" // not from the event: routes stay few
	} else if eventID == "12" {
		if more, ok := of["12+"+eventType]; ok {
			eventID, names = "12+"+eventType, more
		}
	}
	return r.routed(routeKey{os: product, typ: service, more: eventID}, func() Route {
		rt := Route{Type: service, OS: product}
		if service == "" {
			rt.Type = product
		}
		if len(names) == 0 {
			rt.Sources = []sigma.LogSource{{Product: product, Service: service}}
			return rt
		}
		rt.Type = names[0]
		for _, category := range names {
			rt.Sources = append(rt.Sources, sigma.LogSource{Product: product, Category: category, Service: service})
		}
		return rt
	})
}

func lower(dst []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		dst = append(dst, c)
	}
	return dst
}
