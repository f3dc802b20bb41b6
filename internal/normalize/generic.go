package normalize

// genericFormat is any other JSON object. Its type is its event_type, or comes from the
// URL that it was posted to. Its fields keep their paths as names, so that rules
// can use them.
var genericFormat = format{
	name:          "generic",
	agentPaths:    []string{"agent.id", "agent"},
	hostPaths:     []string{"host.name", "host.hostname", "host", "hostname", "Hostname", "Computer", "computer_name", "HOSTNAME", "_HOSTNAME"},
	timePaths:     []string{"timestamp", "@timestamp", "time", "ts", "_time", "date"},
	osPaths:       []string{"host.os.type", "host.os.platform", "host.os", "os", "platform"},
	classKeyPaths: []string{"service.type", "service"},
	mayHoldText:   true,
	classify:      func(r *Reader, d *Event, os, _ string) *Class { return declaredTypeClass(r, d, normalizeOS(os)) },
}
