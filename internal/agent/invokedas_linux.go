package agent

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// maxKernelNameBytes is the kernel's bound of a process's name, TASK_COMM_LEN less the
// final NUL.
const maxKernelNameBytes = 15

// kernelName returns the name that the kernel gives to a process that executes a file.
func kernelName(file string) string {
	name := path.Base(file)
	return strings.ToValidUTF8(name[:min(len(name), maxKernelNameBytes)], "\ufffd")
}

// programDirs are where a program of another directory may have a symbolic link.
var programDirs = [...]string{"/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"}

// invokedAs returns the path that was asked for to start a process, if it is not that of
// the executable but leads to it, as a symbolic link does; else "". A process chooses
// argv0 itself, so each path is tried; comm is the kernel's name of the process.
func invokedAs(procDir string, p *processInfo, argv0, comm string) string {
	argv0 = strings.TrimPrefix(argv0, "-") // of a login shell
	if strings.Contains(argv0, "/") {
		if !path.IsAbs(argv0) {
			argv0 = path.Join(p.WorkingDirectory, argv0)
		}
		if argv0 == p.Name {
			return ""
		}
		if leadsToExecutable(procDir, argv0) {
			return argv0
		}
		argv0 = comm
	}
	names := [...]string{argv0, comm}
	for i, name := range names {
		if name == path.Base(p.Name) {
			return ""
		}
		if name == "" || strings.Contains(name, "/") || i > 0 && (name == names[0] || len(name) == maxKernelNameBytes) {
			continue
		}
		if file := path.Dir(p.Name) + "/" + name; leadsToExecutable(procDir, file) {
			return file
		}
		for _, dir := range programDirs {
			if file := dir + "/" + name; dir != path.Dir(p.Name) && leadsToExecutable(procDir, file) {
				return file
			}
		}
	}
	return ""
}

// leadsToExecutable reports whether a path, as the process sees it, leads to the file that
// it executes. It needs Linux 5.6, which resolves the links of a container within it.
func leadsToExecutable(procDir, file string) bool {
	root, err := unix.Open(procDir+"/root", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(root)
	fd, err := unix.Openat2(root, file, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var named, executed unix.Stat_t
	return unix.Fstat(fd, &named) == nil && unix.Stat(procDir+"/exe", &executed) == nil && named.Dev == executed.Dev && named.Ino == executed.Ino
}
