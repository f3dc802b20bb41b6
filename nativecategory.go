package picket

// NativeActionPaths are the paths of the action of an event in the native format.
func NativeActionPaths() []string { return []string{"process.action", "file.operation"} }

// NativeCategory returns Sigma's category of a native event with a type and an action,
// "" if the type is none of process, file and network.
func NativeCategory(eventType, action string) string {
	switch eventType {
	case "process":
		if action == "terminated" || action == "exited" {
			return "process_termination"
		}
		return "process_creation"
	case "file":
		switch action {
		case "deleted":
			return "file_delete"
		case "renamed":
			return "file_rename"
		case "accessed", "read":
			return "file_access"
		}
		return "file_event"
	case "network":
		return "network_connection"
	}
	return ""
}
