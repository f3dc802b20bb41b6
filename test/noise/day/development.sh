# at 09:30 lasting 4h
# A developer: git, C with configure and make, CMake, Go, Node, Python, Rust, editors.
home=$ROOT/home/dev
mkdir -p "$home/src" && chown -R 4242:4242 "$home"
cat > "$home/work.sh" <<'SCRIPT'
cd "$HOME/src"
git config --global user.email dev@example.org; git config --global user.name Dev; git config --global init.defaultBranch main
git init -q --bare origin.git
git clone -q origin.git shop 2>/dev/null
cd shop
cat > main.c <<'C'
#include <stdio.h>
int main(void) { puts("hello"); return 0; }
C
cat > configure <<'SH'
#!/bin/sh
uname=`uname -s`; host=`uname -m`; echo "checking build system type... $host-$uname"
for f in stdio.h stdlib.h unistd.h; do
  echo "#include <$f>" > conftest.c; echo 'int main(void){return 0;}' >> conftest.c
  gcc -o conftest conftest.c 2>/dev/null && ./conftest && echo "checking for $f... yes"
  rm -f conftest conftest.c
done
hostname=`(hostname || uname -n) 2>/dev/null | sed 1q`
sed "s/@CC@/gcc/" Makefile.in > Makefile
SH
printf 'CC=@CC@\nall: hello\nhello: main.c\n\t$(CC) -O2 -o hello main.c\ncheck: hello\n\t./hello\ninstall: hello\n\tinstall -D -m 755 hello $(DESTDIR)/usr/bin/hello\nclean:\n\trm -f hello *.o\n' > Makefile.in
chmod +x configure
./configure && make -s && make -s check && make -s install DESTDIR="$HOME/stage"
git add -A; git commit -qm first; git push -q origin main 2>/dev/null; git log --oneline | head -3; git diff HEAD; git status -s; git fetch -q; git checkout -qb feature; git merge -q main
git stash; git gc -q; git archive HEAD | gzip > "$HOME/shop.tar.gz"
printf '#!/bin/sh\nexec git diff --check --cached\n' > .git/hooks/pre-commit; chmod +x .git/hooks/pre-commit
echo x > x; git add x; git commit -qm second
mkdir -p cm && cd cm && printf 'cmake_minimum_required(VERSION 3.10)\nproject(x C)\nadd_executable(x ../main.c)\n' > CMakeLists.txt && cmake -S . -B b > /dev/null && cmake --build b > /dev/null && ./b/x
cd "$HOME/src"; mkdir -p gomod && cd gomod
printf 'module example.org/x\n\ngo 1.21\n' > go.mod
printf 'package main\n\nfunc main() { println(add(1, 2)) }\nfunc add(a, b int) int { return a + b }\n' > main.go
printf 'package main\n\nimport "testing"\n\nfunc TestAdd(t *testing.T) { if add(1, 2) != 3 { t.Fail() } }\n' > main_test.go
go build ./... && go vet ./... && go test ./... && go run . 
cd "$HOME/src"; mkdir -p web && cd web
printf '{"name":"web","version":"1.0.0","scripts":{"build":"node build.js","test":"node --test"},"license":"MIT"}' > package.json
printf 'require("fs").writeFileSync("out.js","1");require("child_process").execSync("ls -l")' > build.js
npm run -s build; npm pack --silent > /dev/null; node -e 'console.log(process.version)'
cd "$HOME/src"; mkdir -p py && cd py
python3 -m venv --without-pip venv && . venv/bin/activate
printf 'import subprocess, unittest\nclass T(unittest.TestCase):\n    def test(self): subprocess.run(["uname", "-r"], stdout=subprocess.DEVNULL, check=True)\n' > test_x.py
python -m unittest -q test_x; python -c 'print(1)'; python3 -m compileall -q . ; python3 -m json.tool --help > /dev/null
deactivate
cargo build --release; rustc --version; poetry install
docker build -t shop . ; docker compose up -d; docker ps; docker logs --tail 10 shop; docker exec shop ls /app
kubectl get pods -n shop; kubectl logs deploy/shop; kubectl apply -f deploy.yaml; helm upgrade shop ./chart
terraform plan; terraform apply -auto-approve; aws s3 ls s3://artifacts; aws s3 cp shop.tar.gz s3://artifacts/
grep -rn TODO --include='*.c' "$HOME/src" ; find . -name '*.pyc' -delete; rm -rf build dist node_modules
curl -s -X POST -d '{"a":1}' -H 'Content-Type: application/json' http://127.0.0.1:9/api; curl -fsSLO http://127.0.0.1:9/tool.tar.gz; wget -q http://127.0.0.1:9/data.json
jq . package.json 2>/dev/null; base64 main.c 2>/dev/null | head -1; echo aGVsbG8= | base64 -d; md5sum package.json 2>/dev/null; xxd main.c 2>/dev/null | head -2; openssl dgst -sha256 /etc/hostname; gzip -k package.json 2>/dev/null; zip -qr src.zip . 2>/dev/null; split -b 100k src.zip part. 2>/dev/null
ssh-keygen -l -f /etc/ssh/ssh_host_rsa_key.pub; ssh -L 5432:db:5432 -N bastion; scp -r dist web-1:/srv/
vi --version > /dev/null; sqlite3 x.db 'create table t(a)'; ls -la ~; cat ~/.gitconfig; cat ~/.bashrc 2>/dev/null; export EDITOR=vi; nohup sleep 0 > /dev/null 2>&1 &
wait
SCRIPT
export GOCACHE=$home/.cache/go-build GOPATH=$home/go GOFLAGS=-mod=mod GOPROXY=off
as /home/dev/.vscode-server/cli/servers/Stable-1/server/node setpriv --reuid=4242 --regid=4242 --clear-groups env HOME="$home" bash "$home/work.sh"
as /opt/google/chrome/chrome /opt/google/chrome/chrome --type=renderer 2>/dev/null
