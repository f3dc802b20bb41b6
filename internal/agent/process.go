package agent

// ProcessSource is a source of the processes that start and exit on this host. It
// exists on Linux only.
//
// As root, or with CAP_NET_ADMIN, it receives each start and exit from the
// kernel's process connector and reads the details from /proc. On a busy host a
// process that lives for a millisecond may have exited by then; its event has
// only what is known: the parent, the user and the exit code. Without these
// privileges the source polls /proc four times a second, and misses shorter
// processes and all exit codes.
type ProcessSource struct {
	AgentID string // "" means the hostname
	// PollOnly polls /proc even if the process connector is available.
	PollOnly bool
	// Report is called with what the source cannot see and what to do about it.
	Report func(message, hint string)
}
