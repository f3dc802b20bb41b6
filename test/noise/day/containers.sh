# at 10:20 15:40
# Containers start, are checked and stop; a web server's application runs its helpers; mail is delivered; CI runs jobs.
as /usr/bin/dockerd runc --root /var/run/docker/runtime-runc/moby --log /run/containerd/log.json create --bundle /run/containerd/x x
as /usr/bin/containerd-shim-runc-v2 runc --root /var/run/docker/runtime-runc/moby exec --process /tmp/runc-process1 --detach x
as /usr/bin/containerd-shim-runc-v2 /bin/sh -c "wget -q --spider http://localhost:8080/health || exit 1"
as /usr/bin/containerd-shim-runc-v2 pg_isready -U postgres 2>/dev/null
as /usr/bin/containerd-shim-runc-v2 redis-cli ping
as /usr/bin/containerd-shim-runc-v2 /bin/sh -c "env; exec sleep 0"
as /usr/bin/containerd-shim-runc-v2 runc --root /var/run/docker/runtime-runc/moby delete x
docker system prune -f
docker image ls
docker cp shop:/app/log.txt "$ROOT/var/log/shop.log"
unshare --mount --fork true 2>/dev/null
as /usr/sbin/php-fpm8.2 sh -c "convert $ROOT/var/www/a.png -resize 100 $ROOT/var/www/b.png"
as /usr/sbin/php-fpm8.2 sh -c "$ROOT/usr/sbin/sendmail -t -i -f shop@example.org"
as /usr/sbin/exim4 /bin/sh -c "$ROOT/usr/bin/procmail -d ann"
as /usr/sbin/nginx nginx -s reopen
mkdir -p "$ROOT/opt/runner/_work/_temp" "$ROOT/builds/shop"
printf 'set -e\necho building\ngit --version\nmake --version\ncurl --version\nmkdir -p dist\ntar -czf dist.tgz dist\nsha256sum dist.tgz\n' > "$ROOT/opt/runner/_work/_temp/1b2c.sh"
(cd "$ROOT/builds/shop" && as /usr/bin/Runner.Worker bash --noprofile --norc -e -o pipefail "$ROOT/opt/runner/_work/_temp/1b2c.sh") > /dev/null
(cd "$ROOT/builds/shop" && as /usr/bin/gitlab-runner bash -c 'if [ -x /usr/local/bin/bash ]; then exec /usr/local/bin/bash; elif [ -x /bin/bash ]; then exec /bin/bash; fi' <<< "$(printf 'set -eo pipefail\nexport CI=true\necho \$ make\nenv > /dev/null\ngit rev-parse --short HEAD 2>/dev/null || true\ncat /etc/os-release > /dev/null\nwhoami\npwd\n')") > /dev/null
