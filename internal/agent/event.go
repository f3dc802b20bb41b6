package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// A nativeEvent is an event in picket's native format, as its own sources send
// it.
type nativeEvent struct {
	AgentID   string       `json:"agent_id"`
	EventID   string       `json:"event_id"`
	EventType string       `json:"event_type"`
	Timestamp epochSeconds `json:"timestamp"`
	Severity  string       `json:"severity"`
	Version   string       `json:"version"`
	Host      hostInfo     `json:"host"`
	Process   *processInfo `json:"process,omitempty"`
}

type hostInfo struct {
	Hostname  string `json:"hostname"`
	OS        string `json:"os"`
	OSVersion string `json:"os_version,omitempty"`
}

type processInfo struct {
	Name        string `json:"name"`                 // the executable's full path
	InvokedAs   string `json:"invoked_as,omitempty"` // the path asked for, if it is another, such as a symbolic link
	Comm        string `json:"comm,omitempty"`       // the kernel's name, if it is not that of the file
	PID         int    `json:"pid"`
	CommandLine string `json:"command_line,omitempty"`
	// Args are the arguments, if the command line does not tell where they end.
	Args              []string `json:"args,omitempty"`
	User              string   `json:"user,omitempty"`
	ParentImage       string   `json:"parent_image,omitempty"`
	ParentInvokedAs   string   `json:"parent_invoked_as,omitempty"`
	ParentCommandLine string   `json:"parent_command_line,omitempty"`
	ParentPID         int      `json:"parent_pid,omitempty"`
	WorkingDirectory  string   `json:"working_directory,omitempty"`
	ContainerID       string   `json:"container_id,omitempty"`
	Started           string   `json:"started,omitempty"` // RFC 3339
	Action            string   `json:"action"`            // created, terminated
	ExitCode          *int     `json:"exit_code,omitempty"`
}

// epochSeconds encodes a time as Unix seconds with microseconds.
type epochSeconds time.Time

func (s epochSeconds) MarshalJSON() ([]byte, error) {
	us := time.Time(s).UnixMicro()
	return fmt.Appendf(nil, "%d.%06d", us/1e6, us%1e6), nil
}

// encode returns the event of a process. Its id is a hash of the process instance and of
// all of the event, so that no two different events have the same id.
func (p *processInfo) encode(agentID string, host hostInfo, at time.Time, processInstance string) ([]byte, error) {
	event := nativeEvent{AgentID: agentID, EventType: "process", Timestamp: epochSeconds(at), Severity: "info", Version: "1.0", Host: host, Process: p}
	content, err := json.Marshal(&event)
	if err != nil {
		return nil, fmt.Errorf("encode event of process %d: %w", p.PID, err)
	}
	h := sha256.New()
	h.Write([]byte(processInstance))
	h.Write(content)
	event.EventID = hex.EncodeToString(h.Sum(nil)[:16])
	return json.Marshal(&event)
}
