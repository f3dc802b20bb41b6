package shape

import (
	"strings"

	"github.com/picket-edr/picket/sigma"
)

// syslog is a line of a log of Linux, with the program that wrote it beside it
// or at its start. Rules for these look for words in it.
var syslog = mapping{
	name:    "syslog",
	content: isSyslog,
	agent:   generic.agent,
	host:    append([]string{"host.name", "host.hostname"}, generic.host...),
	time:    append([]string{"_SOURCE_REALTIME_TIMESTAMP", "__REALTIME_TIMESTAMP"}, generic.time...), // the journal's
	os:      generic.os,
	route: func(r *Reader, d *Doc, os, _ string) *Route {
		if d.Host == "" {
			_, d.Host, _ = cutSyslog(d.in.text)
		}
		system := osOf(os)
		if system == "" {
			system = "linux"
		}
		if system != "linux" || sigmaCategories[d.Type] {
			return typedRoute(r, d, system)
		}
		services := logServices(d.in.program)
		if services[0] == "sudo" {
			d.in.fields = sudoFields(d.in.text, d.in.fields)
		}
		return syslogRoute(r, services)
	},
}

// isSyslog reports whether an event is a line of a program. An event of ECS is
// one only where it names a log that is known: it says else what it is.
func isSyslog(d *Doc) bool {
	if d.in.program != "" {
		return d.m.name != ecsName || programs[programName(d.in.program)] != nil
	}
	program, _, ok := cutSyslog(d.in.text)
	if ok {
		d.in.program = program
	}
	return ok
}

// programs are Sigma's services of the logs that programs write to: their own,
// and the file that the line is in. Filebeat's modules name the file.
var programs = map[string][]string{
	"sshd": {"sshd", "auth"}, "sshd-session": {"sshd", "auth"}, "sshd-auth": {"sshd", "auth"}, "sudo": {"sudo", "auth"},
	"su": {"auth"}, "login": {"auth"}, "pkexec": {"auth"}, "polkitd": {"auth"}, "systemd-logind": {"auth"}, "useradd": {"auth"},
	"usermod": {"auth"}, "userdel": {"auth"}, "groupadd": {"auth"}, "passwd": {"auth"}, "gdm-password": {"auth"},
	"cron": {"cron", "syslog"}, "crond": {"cron", "syslog"}, "crontab": {"cron", "syslog"}, "anacron": {"cron", "syslog"},
	"clamd": {"clamav", "syslog"}, "clamav": {"clamav", "syslog"}, "freshclam": {"clamav", "syslog"}, "clamscan": {"clamav", "syslog"},
	"vsftpd": {"vsftpd", "syslog"}, "guacd": {"guacamole", "syslog"}, "guacamole": {"guacamole", "syslog"},
	"system.auth": {"auth"}, "system.syslog": {"syslog"},
}

// logServices are the services of a program: syslog, if it is none in
// particular.
func logServices(program string) []string {
	if of := programs[programName(program)]; of != nil {
		return of
	}
	return syslogOnly
}

var syslogOnly = []string{"syslog"}

// programName is a program without what comes with its name, as in CRON[12]:
// or /usr/sbin/sshd.
func programName(s string) string {
	if i := strings.IndexAny(s, "[: ("); i >= 0 {
		s = s[:i]
	}
	return strings.ToLower(s[strings.LastIndexByte(s, '/')+1:])
}

func syslogRoute(r *Reader, services []string) *Route {
	// Services that begin alike are the same.
	return r.routed(routeKey{shape: logRoutes, os: "linux", typ: services[0], more: "log"}, func() Route {
		rt := Route{Type: services[0], OS: "linux"}
		for _, s := range services {
			rt.Sources = append(rt.Sources, sigma.LogSource{Product: "linux", Service: s})
		}
		return rt
	})
}

// sudoFields appends what sudo says of a command that it ran:
// TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/sh.
func sudoFields(text string, dst []sigma.Field) []sigma.Field {
	for part := range strings.SplitSeq(text, " ; ") {
		name, value, ok := strings.Cut(part, "=")
		name = name[strings.LastIndexByte(name, ' ')+1:]
		if ok && (name == "TTY" || name == "PWD" || name == "USER" || name == "COMMAND") {
			dst = appendField(dst, name, value)
		}
	}
	return dst
}

// cutSyslog reads the start of a line of syslog: [<PRI>]Jan  2 15:04:05 host
// program[pid]: text, or the same with an ISO 8601 time.
func cutSyslog(line string) (program, host string, ok bool) {
	if strings.HasPrefix(line, "<") {
		if i := strings.IndexByte(line[:min(len(line), 6)], '>'); i > 0 {
			line = line[i+1:]
		}
	}
	if len(line) < 20 {
		return "", "", false
	}
	if line[3] == ' ' && line[6] == ' ' && line[9] == ':' && line[12] == ':' && line[15] == ' ' && digits(line[13:15]) >= 0 {
		line = line[16:]
	} else if i := strings.IndexByte(line, ' '); i < 19 {
		return "", "", false
	} else if _, iso := parseISO(line[:i]); iso {
		line = line[i+1:]
	} else {
		return "", "", false
	}
	host, line, ok = strings.Cut(line[:min(len(line), 512)], " ")
	program, _, colon := strings.Cut(line, ":")
	if name, _, pid := strings.Cut(program, "["); pid {
		program = name
	}
	if !ok || !colon || host == "" || program == "" || len(program) > 64 || strings.ContainsAny(program, " \t") {
		return "", "", false
	}
	return program, host, true
}
