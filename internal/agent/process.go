package agent

// Process is a source of the processes that start and end on this host. Only
// Linux has it so far.
//
// As root, or with CAP_NET_ADMIN, it hears of each from the kernel, and reads
// the rest from /proc; on a busy host, a process that lives for a millisecond
// may be gone by then, and is told of with what is known: its parent, user and
// exit code. Without, it looks through /proc a few times a second, and misses
// what lives shorter than that, and exit codes.
type Process struct {
	AgentID string // "" means the hostname
	// Poll looks through /proc even where the kernel would tell.
	Poll bool
	// Report hears what the source cannot see, and what to do about it.
	Report func(message, hint string)
}
