package normalize

import (
	"path"
	"strings"

	"github.com/picket-edr/picket/internal/commandline"
	"github.com/picket-edr/picket/sigma"
)

// maxExecArguments bounds the arguments of a program that are fields of their own.
const maxExecArguments = 128

// deriveNativeExec appends what auditd would record of the start of a program on Linux:
// rules for that service ask for it by these names.
func deriveNativeExec(d *Event, dst []sigma.Field) []sigma.Field {
	if !d.Class.nativeExec {
		return dst
	}
	var exec nativeExec
	for k := range d.leaves {
		exec.read(d.leaves[k].Path.Name, d.leaves[k].Value.Text)
	}
	if exec.commandLine == "" && len(exec.args) == 0 {
		return dst // a thread of the kernel, or a process that had exited
	}
	return exec.appendAuditFields(dst)
}

// A nativeExec is what a native event says of the start of a program.
type nativeExec struct {
	image, invokedAs, comm, commandLine string
	args                                []string // nil: those of the command line
}

// read takes over the value at a path.
func (e *nativeExec) read(name, value string) {
	switch name {
	case "process.name":
		e.image = value
	case "process.invoked_as":
		e.invokedAs = value
	case "process.comm":
		e.comm = value
	case "process.command_line":
		e.commandLine = value
	case "process.args":
		if len(e.args) < maxExecArguments {
			e.args = append(e.args, value)
		}
	}
}

func (e *nativeExec) appendAuditFields(dst []sigma.Field) []sigma.Field {
	dst = appendField(dst, "type", "EXECVE")
	dst = appendField(dst, "type", "SYSCALL")
	dst = appendField(dst, "SYSCALL", "execve")
	dst = appendField(dst, "exe", e.image)
	dst = appendField(dst, "comm", e.kernelName())
	for _, program := range [...]string{e.image, e.invokedAs} {
		if key := auditKeys[program]; key != "" {
			dst = appendField(dst, "key", key)
			break
		}
	}
	if e.args != nil {
		for i, a := range e.args {
			dst = appendField(dst, argumentName(i), a)
		}
		return dst
	}
	i := 0
	for a := range commandline.Split(e.commandLine) {
		if i == maxExecArguments {
			break
		}
		dst = appendField(dst, argumentName(i), a)
		i++
	}
	return dst
}

// maxKernelNameBytes is the kernel's bound of a process's name, TASK_COMM_LEN less the
// final NUL.
const maxKernelNameBytes = 15

// kernelName returns the name that the kernel gives to the process: the start of the name
// of the file that was executed, unless the event says otherwise.
func (e *nativeExec) kernelName() string {
	if e.comm != "" {
		return e.comm
	}
	file := e.invokedAs
	if file == "" {
		file = e.image
	}
	name := path.Base(file)
	return strings.ToValidUTF8(name[:min(len(name), maxKernelNameBytes)], "")
}

// auditKeys are the keys by which rules ask for the programs that the customary
// configuration of auditd watches. Source: the definition of SigmaHQ's rule
// lnx_auditd_susp_c2_commands.
var auditKeys = func() map[string]string {
	keys := make(map[string]string)
	for _, name := range []string{
		"wget", "curl", "base64", "nc", "netcat", "ncat", "ss", "netstat", "ssh", "scp", "sftp", "ftp", "socat", "wireshark", "tshark",
		"rawshark", "rdesktop", "wlfreerdp", "xfreerdp", "nmap",
	} {
		for _, dir := range []string{"/bin/", "/usr/bin/", "/usr/local/bin/"} {
			keys[dir+name] = "susp_activity"
		}
	}
	return keys
}()
