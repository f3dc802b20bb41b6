package scanreport

// logonTypes are the values of LogonType of Windows' events 4624 and 4625:
// learn.microsoft.com/windows/security/threat-protection/auditing/event-4624.
var logonTypes = map[string]string{
	"0": "System", "2": "Interactive", "3": "Network", "4": "Batch", "5": "Service", "7": "Unlock", "8": "NetworkCleartext",
	"9": "NewCredentials", "10": "RemoteInteractive", "11": "CachedInteractive", "12": "CachedRemoteInteractive", "13": "CachedUnlock",
}

// messageCodes are parameter messages that Windows' security events name by number, as in
// %%1936: those of msobjs.dll about access, tokens and failures.
var messageCodes = map[string]string{
	"%%1537": "DELETE", "%%1538": "READ_CONTROL", "%%1539": "WRITE_DAC", "%%1540": "WRITE_OWNER", "%%1541": "SYNCHRONIZE",
	"%%1832": "Identification", "%%1833": "Impersonation", "%%1840": "Delegation", "%%1841": "Denied by Process Trust Label ACE",
	"%%1842": "Yes", "%%1843": "No", "%%1936": "TokenElevationTypeDefault (1)", "%%1937": "TokenElevationTypeFull (2)",
	"%%1938": "TokenElevationTypeLimited (3)", "%%2304": "An Error occured during Logon.", "%%2305": "The specified user account has expired.",
	"%%2306": "The NetLogon component is not active.", "%%2307": "Account locked out.", "%%2308": "The user has not been granted the requested logon type at this machine.",
	"%%2309": "The specified account's password has expired.", "%%2310": "Account currently disabled.", "%%2311": "Account logon time restriction violation.",
	"%%2312": "User not allowed to logon at this computer.", "%%2313": "Unknown user name or bad password.",
}

// readable returns a value of a field as people read it: codes with what they mean.
func readable(field, value string) string {
	if field == "LogonType" {
		if name := logonTypes[value]; name != "" {
			return value + " " + name
		}
	}
	if meaning := messageCodes[value]; meaning != "" {
		return value + " " + meaning
	}
	return value
}
