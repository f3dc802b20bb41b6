# Functions of the day's jobs. ROOT is the scratch root.

# as PROGRAM COMMAND...: runs a command as the child of one of programs.txt.
as() {
	local program=$ROOT$1
	shift
	local IFS=$'\x1f'
	NOISE_CHILD="$*" "$program"
}

# cron COMMAND: runs a command line as cron does.
cron() { as /usr/sbin/cron /bin/sh -c "$1"; }

# session: runs the commands on stdin in a login shell of someone who has signed in by ssh. /etc/profile sets PATH.
session() { { printf 'PATH=%s\n' "$PATH"; cat; } | as /usr/sbin/sshd -bash -l; }
