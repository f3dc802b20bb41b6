# at 02:10
# Backups: archives of data and configuration, dumps of databases, copies elsewhere.
cat > "$ROOT/usr/local/sbin/backup" <<'SCRIPT'
#!/bin/bash
set -e
dir=$ROOT/var/backups
stamp=$(date +%F)
mkdir -p "$dir"
umask 077
mysqldump --single-transaction --all-databases > "$dir/mysql-$stamp.sql"
gzip -f "$dir/mysql-$stamp.sql"
pg_dump -Fc -f "$dir/shop-$stamp.dump" shop
tar -czf "$dir/etc-$stamp.tar.gz" -C "$ROOT" etc
tar -cf - -C "$ROOT" home | gzip -1 > "$dir/home-$stamp.tar.gz"
tar --exclude=.cache -czf "$dir/www-$stamp.tar.gz" -C "$ROOT" var/www
find "$dir" -name '*.gz' -mtime +14 -delete
(cd "$dir" && sha256sum *.gz > SHA256SUMS)
du -sh "$dir"
rsync -a --delete "$dir/" backup@192.0.2.10:/srv/backup/web-1/
scp -q "$dir/SHA256SUMS" backup@192.0.2.10:/srv/backup/web-1/
restic backup "$ROOT/home" --exclude-caches
restic forget --keep-daily 7 --prune
df -h "$dir" | tail -1
logger -t backup done || true
SCRIPT
chmod 755 "$ROOT/usr/local/sbin/backup"
cron "$ROOT/usr/local/sbin/backup"
cron "sqlite3 $ROOT/var/lib/app.db \".backup $ROOT/var/backups/app.db\""
cron "dpkg --get-selections > $ROOT/var/backups/packages.txt"
cron "cp -a $ROOT/etc/passwd $ROOT/var/backups/passwd.bak; cmp -s $ROOT/etc/shadow $ROOT/var/backups/shadow.bak || cp -p $ROOT/etc/shadow $ROOT/var/backups/shadow.bak"
as /usr/lib/postgresql/15/bin/postgres sh -c "test ! -f $ROOT/var/backups/0001 && cp $ROOT/etc/hostname $ROOT/var/backups/0001"
