package normalize

import (
	"strings"

	"github.com/picket-edr/picket/sigma"
)

// syslogFormat is a Linux log line, with the program that wrote it beside the line or at
// its start. Rules for such logs search for keywords.
var syslogFormat = format{
	name:        "syslog",
	matchesText: isSyslog,
	agentPaths:  genericFormat.agentPaths,
	hostPaths:   append([]string{"host.name", "host.hostname"}, genericFormat.hostPaths...),
	timePaths:   append([]string{"_SOURCE_REALTIME_TIMESTAMP", "__REALTIME_TIMESTAMP"}, genericFormat.timePaths...), // of the systemd journal
	osPaths:     genericFormat.osPaths,
	classify: func(r *Reader, d *Event, os, _ string) *Class {
		if d.Host == "" {
			_, host, _ := parseSyslogHead(d.text.text)
			d.setHostFromText(host)
		}
		system := normalizeOS(os)
		if system == "" {
			system = "linux"
		}
		if system != "linux" || declarableCategories[d.Type] {
			return r.declaredClass(d, declaration{os: system, typ: d.Type})
		}
		services := logServices(d.text.program)
		if services[0] == "sudo" {
			d.text.fields = appendSudoFields(d.text.text, d.text.fields)
		}
		return syslogClass(r, services)
	},
}

// isSyslog reports whether an event is a log line of a program. An ECS event is one
// only if it names a known log.
func isSyslog(d *Event) bool {
	if d.text.program != "" {
		return d.format.name != ecsFormatName || programServices[programName(d.text.program)] != nil
	}
	program, _, ok := parseSyslogHead(d.text.text)
	if ok {
		d.text.program = program
	}
	return ok
}

// programServices are Sigma's services for the logs of a program: the program's own,
// and that of the log file. Filebeat's modules name the file.
var programServices = map[string][]string{
	"sshd": {"sshd", "auth"}, "sshd-session": {"sshd", "auth"}, "sshd-auth": {"sshd", "auth"}, "sudo": {"sudo", "auth"},
	"su": {"auth"}, "login": {"auth"}, "pkexec": {"auth"}, "polkitd": {"auth"}, "systemd-logind": {"auth"}, "useradd": {"auth"},
	"usermod": {"auth"}, "userdel": {"auth"}, "groupadd": {"auth"}, "passwd": {"auth"}, "gdm-password": {"auth"},
	"cron": {"cron", "syslog"}, "crond": {"cron", "syslog"}, "crontab": {"cron", "syslog"}, "anacron": {"cron", "syslog"},
	"clamd": {"clamav", "syslog"}, "clamav": {"clamav", "syslog"}, "freshclam": {"clamav", "syslog"}, "clamscan": {"clamav", "syslog"},
	"vsftpd": {"vsftpd", "syslog"}, "guacd": {"guacamole", "syslog"}, "guacamole": {"guacamole", "syslog"},
	"system.auth": {"auth"}, "system.syslog": {"syslog"},
}

// logServices returns the services of a program's logs: syslog, if the program has
// none of its own.
func logServices(program string) []string {
	if of := programServices[programName(program)]; of != nil {
		return of
	}
	return fallbackLogServices
}

var fallbackLogServices = []string{"syslog"}

// programName returns the bare name of a program such as CRON[12]: or
// /usr/sbin/sshd.
func programName(s string) string {
	if i := strings.IndexAny(s, "[: ("); i >= 0 {
		s = s[:i]
	}
	return strings.ToLower(s[strings.LastIndexByte(s, '/')+1:])
}

func syslogClass(r *Reader, services []string) *Class {
	// The first service identifies the list.
	return r.internClass(classKey{format: classKeyAnySyslog, os: "linux", typ: services[0], more: "log"}, func() Class {
		rt := Class{Type: services[0], OS: "linux"}
		for _, s := range services {
			rt.Sources = append(rt.Sources, sigma.LogSource{Product: "linux", Service: s})
		}
		return rt
	})
}

// appendSudoFields appends the fields of a command that sudo ran:
// TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/sh.
func appendSudoFields(text string, dst []sigma.Field) []sigma.Field {
	for part := range strings.SplitSeq(text, " ; ") {
		name, value, ok := strings.Cut(part, "=")
		name = name[strings.LastIndexByte(name, ' ')+1:]
		if ok && (name == "TTY" || name == "PWD" || name == "USER" || name == "COMMAND") {
			dst = appendField(dst, name, value)
		}
	}
	return dst
}

// parseSyslogHead parses the start of a syslog line: [<PRI>]Jan  2 15:04:05 host
// program[pid]: text, or the same with an ISO 8601 time.
func parseSyslogHead(line string) (program, host string, ok bool) {
	if strings.HasPrefix(line, "<") {
		if i := strings.IndexByte(line[:min(len(line), 6)], '>'); i > 0 {
			line = line[i+1:]
		}
	}
	if len(line) < 20 {
		return "", "", false
	}
	if line[3] == ' ' && line[6] == ' ' && line[9] == ':' && line[12] == ':' && line[15] == ' ' && parseDigits(line[13:15]) >= 0 {
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
