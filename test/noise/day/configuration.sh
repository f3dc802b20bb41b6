# at 05:00 11:00 17:00
# Configuration management: what Ansible does over ssh, and an agent that runs every few hours.
tmp=$ROOT/root/.ansible/tmp/ansible-tmp-1767323045.1-1234-5678
as /usr/sbin/sshd /bin/sh -c "/bin/sh -c 'echo ~root && sleep 0'"
as /usr/sbin/sshd /bin/sh -c "/bin/sh -c '( umask 77 && mkdir -p \"$ROOT/root/.ansible/tmp\" && mkdir -p \"$tmp\" && echo ok ) && sleep 0'"
cat > "$tmp/AnsiballZ_setup.py" <<'PYTHON'
import os, subprocess
run = lambda *a: subprocess.run(a, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
for command in (["uname", "-a"], ["lsb_release", "-a"], ["getconf", "PAGESIZE"], ["ip", "-4", "route", "get", "192.0.2.1"], ["ip", "addr", "show"],
                ["lsblk", "--list"], ["findmnt", "--list"], ["dmidecode", "-s", "system-uuid"], ["systemctl", "list-units"], ["dpkg-query", "-W"],
                ["getent", "passwd", "root"], ["id"], ["sysctl", "-n", "kernel.hostname"], ["hostname", "-f"], ["cat", "/proc/cpuinfo"]):
    try: run(*command)
    except FileNotFoundError: pass
os.makedirs(os.environ["ROOT"] + "/etc/app", exist_ok=True)
with open(os.environ["ROOT"] + "/etc/app/app.conf", "w") as f: f.write("x=1\n")
run("chmod", "0644", os.environ["ROOT"] + "/etc/app/app.conf"); run("chown", "root:root", os.environ["ROOT"] + "/etc/app/app.conf")
run("systemctl", "restart", "app"); run("/bin/sh", "-c", "cat " + os.environ["ROOT"] + "/etc/hosts | grep -c localhost")
run("useradd", "-r", "-s", "/usr/sbin/nologin", "app"); run("apt-get", "-s", "-qq", "install", "true"); run("git", "-C", "/", "rev-parse")
PYTHON
as /usr/sbin/sshd /bin/sh -c "/bin/sh -c 'chmod u+x $tmp/ $tmp/AnsiballZ_setup.py && sleep 0'"
as /usr/sbin/sshd /bin/sh -c "/bin/sh -c '/usr/bin/python3 $tmp/AnsiballZ_setup.py && sleep 0'"
as /usr/sbin/sshd /bin/sh -c "/bin/sh -c 'rm -f -r $tmp/ > /dev/null 2>&1 && sleep 0'"
