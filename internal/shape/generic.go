package shape

// generic is any other JSON object: it says of itself what it is by
// event_type, or intake knows it from where it was posted. Its fields keep
// their paths, so that rules written for them apply.
var generic = mapping{
	name:  "generic",
	agent: []string{"agent.id", "agent"},
	host:  []string{"host.name", "host.hostname", "host", "hostname", "Hostname", "Computer", "computer_name", "HOSTNAME", "_HOSTNAME"},
	time:  []string{"timestamp", "@timestamp", "time", "ts", "_time", "date"},
	os:    []string{"host.os.type", "host.os.platform", "host.os", "os", "platform"},
	key:   []string{"service.type", "service"},
	texts: true,
	route: func(r *Reader, d *Doc, os, _ string) *Route { return typedRoute(r, d, osOf(os)) },
}
