//go:build unix

package celeryworker

import "syscall"

// usage returns the resource usage of the process, by getrusage's names.
func usage() map[string]any {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return map[string]any{}
	}
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return map[string]any{
		"utime": seconds(u.Utime), "stime": seconds(u.Stime), "maxrss": u.Maxrss, "minflt": u.Minflt, "majflt": u.Majflt,
		"inblock": u.Inblock, "oublock": u.Oublock, "nvcsw": u.Nvcsw, "nivcsw": u.Nivcsw,
	}
}
