# at 00:05 03:05 06:05 08:05 10:05 12:05 14:05 16:05 18:05 20:05 22:05 23:05
# What monitoring asks a host, and a job of every hour.
as /usr/sbin/nrpe /bin/sh -c "df -P / | tail -1"
as /usr/sbin/nrpe /bin/sh -c "ps axwwo 'stat uid pid ppid vsz rss pcpu etime comm args' | wc -l"
as /usr/sbin/nrpe free -m
as /usr/sbin/nrpe uptime
as /usr/sbin/zabbix_agentd sh -c "ss -tln | wc -l"
as /usr/sbin/zabbix_agentd sh -c "cat /proc/loadavg"
as /usr/sbin/zabbix_agentd sh -c "systemctl is-active nginx"
as /usr/sbin/zabbix_agentd sh -c "who | wc -l"
cron "cd / && run-parts --report $ROOT/etc/cron.hourly"
cron "curl -fsS -m 5 -o /dev/null http://127.0.0.1:9/healthz || true"
cron "find $ROOT/var/spool/app -type f -mmin +60 -delete 2>/dev/null"
cron "python3 -c 'import shutil; print(shutil.disk_usage(\"/\").free)'"
as /usr/sbin/php-fpm8.2 sh -c "$ROOT/usr/sbin/sendmail -t -i"
