package agent

import (
	"iter"
	"path"
	"slices"
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
// the executable but leads to it, as a symbolic link does; else "". argv0 is what the
// process was told of its name, and comm the kernel's name of it. Both can be false.
func invokedAs(procDir string, p *processInfo, argv0, comm string) string {
	for file := range pathsAskedFor(p, argv0, comm) {
		if file == p.Name {
			return ""
		}
		if leadsToExecutable(procDir, file) {
			return file
		}
	}
	return ""
}

// pathsAskedFor yields the paths that may have been asked for, the likeliest first.
func pathsAskedFor(p *processInfo, argv0, comm string) iter.Seq[string] {
	return func(yield func(string) bool) {
		name := strings.TrimPrefix(argv0, "-") // of a login shell
		if strings.Contains(name, "/") {
			if !path.IsAbs(name) {
				name = path.Join(p.WorkingDirectory, name)
			}
			if !yield(name) {
				return
			}
			name = comm
		}
		for _, name := range slices.Compact([]string{name, comm}) {
			for _, dir := range append([]string{path.Dir(p.Name)}, programDirs[:]...) {
				if !yield(dir + "/" + name) {
					return
				}
			}
		}
	}
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
