# at 08:40 14:20 lasting 45m
# An administrator signs in twice, looks after services, reads logs, changes a configuration, adds a colleague.
mkdir -p "$ROOT/etc/nginx/sites-available" "$ROOT/var/log/nginx"
seq 500 > "$ROOT/var/log/nginx/access.log"
session <<'COMMANDS'
uname -snrvm
who
cd /
ls -la
uptime
df -h
free -m
systemctl status nginx
journalctl -u nginx -n 50 --no-pager > /dev/null 2>&1
tail -n 100 $ROOT/var/log/nginx/access.log > /dev/null
grep -c 404 $ROOT/var/log/nginx/access.log
zcat -f $ROOT/var/log/nginx/access.log | awk '{print $1}' | sort | uniq -c | sort -rn | head
ps aux --sort=-%mem | head > /dev/null
top -b -n1 > /dev/null
COMMANDS
session <<'COMMANDS'
cp $ROOT/etc/hosts $ROOT/etc/nginx/sites-available/shop
sed -i 's/localhost/shop.local/' $ROOT/etc/nginx/sites-available/shop
diff $ROOT/etc/hosts $ROOT/etc/nginx/sites-available/shop
nginx -t
sudo systemctl reload nginx
sudo systemctl restart php8.2-fpm
curl -sI http://127.0.0.1:9/ > /dev/null
ss -tlnp > /dev/null
ip -br a > /dev/null
ping -c 3 192.0.2.1
dig +short shop.local
cat /etc/os-release > /dev/null
crontab -l
sudo ufw status
timedatectl
du -sh $ROOT/var/* 2>/dev/null | sort -h | tail -3
find $ROOT/var/log -name '*.gz' -size +100M
tmux new -d
htop
less $ROOT/var/log/nginx/access.log > /dev/null
vi --version > /dev/null
rm -f $ROOT/tmp/old.log
chown -R root:root $ROOT/etc/nginx
chmod 644 $ROOT/etc/nginx/sites-available/shop
tar -tzf $ROOT/var/backups/etc-*.tar.gz > /dev/null
scp report.pdf ann@192.0.2.20:
ssh ann@192.0.2.20 uptime
rsync -av $ROOT/var/www/ web-2:/var/www/
history
exit
COMMANDS
session <<'COMMANDS'
sudo useradd -m -s /bin/bash -G developers bea
sudo passwd bea
id root
groups
ssh-keygen -t ed25519 -N '' -f $ROOT/root/key
ssh-copy-id web-2
sudo usermod -aG docker bea
last -n 5 > /dev/null 2>&1
strace -V > /dev/null
openssl x509 -noout -dates -in /etc/ssl/certs/ca-certificates.crt > /dev/null 2>&1
openssl rand -base64 24 > /dev/null
wget -q -O /dev/null http://127.0.0.1:9/ || true
lsof -i :80 2>/dev/null
kill -0 1
nice -n 10 gzip -k $ROOT/var/log/nginx/access.log
mount | grep -c ext4
lsblk > /dev/null
dmesg 2>/dev/null | tail -3
sysctl -a 2>/dev/null | grep -c ipv4
sudo iptables-save
env | sort > /dev/null
which nginx python3
COMMANDS
