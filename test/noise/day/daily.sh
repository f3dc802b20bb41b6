# at 06:25
# The jobs of cron.daily and of timers.
daily=$ROOT/etc/cron.daily
mkdir -p "$daily" "$ROOT/var/log/app" "$ROOT/var/tmp"
for i in 1 2 3 4 5; do seq 20000 > "$ROOT/var/log/app/$i.log"; done
cat > "$ROOT/etc/logrotate.conf" <<CONF
$ROOT/var/log/app/*.log {
	su root root
	size 1k
	rotate 4
	compress
	missingok
	sharedscripts
	postrotate
		[ ! -f $ROOT/var/run/app.pid ] || kill -USR1 \$(cat $ROOT/var/run/app.pid)
		invoke-rc.d rsyslog rotate > /dev/null || true
	endscript
}
CONF
printf '#!/bin/sh\n/usr/sbin/logrotate -s %s/var/lib/logrotate.status %s/etc/logrotate.conf\n' "$ROOT" "$ROOT" > "$daily/logrotate"
printf '#!/bin/sh\nif [ -d /run/systemd/system ]; then exit 0; fi\ncd %s/var/lib/dpkg/ || exit 0\ncp -p status %s/var/backups/dpkg.status.0; gzip -f %s/var/backups/dpkg.status.0\n' "$ROOT" "$ROOT" "$ROOT" > "$daily/dpkg"
printf '#!/bin/sh\nfind %s/var/tmp -type f -mtime +7 -delete\nfind %s/var/cache -maxdepth 2 -type f -atime +30 -print0 | xargs -0r rm -f\n' "$ROOT" "$ROOT" > "$daily/tmpreaper"
printf '#!/bin/sh\nchkrootkit -q | mail -E -s report root 2>/dev/null\naide --check --config /etc/aide/aide.conf\nlynis audit system --cronjob\nexit 0\n' > "$daily/security"
printf '#!/bin/bash\nfor u in $(cut -d: -f1 %s/etc/passwd | head -3); do chage -l $u >/dev/null; done\nfind %s/home -maxdepth 2 -name authorized_keys -printf "%%u %%p\\n"\nfind %s/usr -xdev -perm -4000 -type f -ls > %s/var/log/setuid.today\nawk -F: "\\$3 == 0 {print \\$1}" %s/etc/passwd\n' "$ROOT" "$ROOT" "$ROOT" "$ROOT" "$ROOT" > "$daily/checksecurity"
chmod 755 "$daily"/*
cron "test -x /usr/sbin/anacron || { cd / && run-parts --report $daily; }"
cron "[ -x /usr/lib/php/sessionclean ] && if [ ! -d /run/systemd/system ]; then /usr/lib/php/sessionclean; fi"
cron "command -v debian-sa1 > /dev/null && debian-sa1 1 1"
cron "certbot -q renew --deploy-hook 'systemctl reload nginx'"
as /usr/lib/systemd/systemd systemd-tmpfiles --clean
as /usr/lib/systemd/systemd /bin/sh /usr/lib/apt/apt.systemd.daily-check 2>/dev/null
as /usr/lib/systemd/systemd fstrim --listed-in /etc/fstab --dry-run 2>/dev/null
