# at 06:50
# An upgrade of 60 packages: built of the files of installed ones, put into a repository, installed with apt and dpkg
# into the scratch root, then upgraded and reinstalled.
repository=$ROOT/srv/repository
mkdir -p "$repository"
count=0
for list in /var/lib/dpkg/info/*.list; do
	package=$(basename "$list" .list)
	package=${package%%:*}
	[ "$(wc -l < "$list")" -lt 60 ] || continue
	build=$ROOT/srv/build/$package
	mkdir -p "$build/DEBIAN" "$build/usr/lib/$package" "$build/etc/$package"
	grep -E '^/usr/(bin|sbin|lib)/' "$list" | head -5 | while read -r file; do
		[ ! -f "$file" ] || cp "$file" "$build/usr/lib/$package/"
	done
	install -D -m 755 /dev/null "$build/usr/lib/$package/tool"
	printf 'Package: %s\nVersion: 1.0\nArchitecture: all\nMaintainer: Noise <noise@example.org>\nDescription: test\n' "$package" > "$build/DEBIAN/control"
	cat > "$build/DEBIAN/postinst" <<'SCRIPT'
#!/bin/sh
set -e
if [ "$1" = configure ]; then
	mkdir -p "$DPKG_ROOT/var/lib/$DPKG_MAINTSCRIPT_PACKAGE"
	chmod 750 "$DPKG_ROOT/var/lib/$DPKG_MAINTSCRIPT_PACKAGE"
	chown root:root "$DPKG_ROOT/var/lib/$DPKG_MAINTSCRIPT_PACKAGE"
	id -u root > /dev/null
	getent passwd root > /dev/null
	update-alternatives --quiet --install "/usr/bin/$DPKG_MAINTSCRIPT_PACKAGE-tool" "$DPKG_MAINTSCRIPT_PACKAGE-tool" "/usr/lib/$DPKG_MAINTSCRIPT_PACKAGE/tool" 10
fi
if [ "$1" = configure ] && [ -d /run/systemd/system ]; then systemctl --system daemon-reload > /dev/null || true; fi
SCRIPT
	printf '#!/bin/sh\nset -e\n[ "$1" != remove ] || rm -rf "$DPKG_ROOT/var/lib/$DPKG_MAINTSCRIPT_PACKAGE"\n' > "$build/DEBIAN/prerm"
	chmod 755 "$build/DEBIAN/postinst" "$build/DEBIAN/prerm"
	dpkg-deb --root-owner-group -Znone -b "$build" "$repository/$package.deb" > /dev/null
	count=$((count + 1))
	[ "$count" -lt 60 ] || break
done
(cd "$repository" && dpkg-scanpackages . > Packages 2>/dev/null && gzip -kf Packages)
mkdir -p "$ROOT"/var/lib/apt/lists/partial "$ROOT"/var/cache/apt/archives/partial "$ROOT"/etc/apt/{sources.list.d,preferences.d,apt.conf.d}
echo "deb [trusted=yes] file:$repository ./" > "$ROOT/etc/apt/sources.list"
cat > "$ROOT/etc/apt/apt.conf" <<CONF
Dir "$ROOT";
Dir::State::status "$ROOT/var/lib/dpkg/status";
Dir::Log "$ROOT/var/log";
Dir::Bin::methods "/usr/lib/apt/methods";
Dir::Bin::dpkg "/usr/bin/dpkg";
DPkg::Options { "--root=$ROOT"; "--force-script-chrootless"; "--force-not-root"; "--log=$ROOT/var/log/dpkg.log"; };
DPkg::Pre-Invoke { "test -x /usr/bin/true || true"; };
DPkg::Post-Invoke { "if [ -x /usr/sbin/needrestart ]; then needrestart -r a; fi"; };
APT::Update::Post-Invoke-Success { "touch $ROOT/var/lib/apt/update-success-stamp 2>/dev/null || true"; };
APT::Sandbox::User "root";
CONF
export APT_CONFIG=$ROOT/etc/apt/apt.conf
as /usr/lib/apt/apt.systemd.daily apt-get -qq update
as /usr/bin/unattended-upgrade apt-get -qq -y install $(cd "$repository" && ls *.deb | sed 's/\.deb$//')
as /usr/bin/sudo apt-get -qq -y --reinstall install $(cd "$repository" && ls *.deb | sed 's/\.deb$//' | head -20)
as /usr/bin/sudo apt-get -qq -y remove $(cd "$repository" && ls *.deb | sed 's/\.deb$//' | head -3)
dpkg --root="$ROOT" -l > /dev/null
apt-cache policy > /dev/null
as /usr/bin/dpkg-trigger true 2>/dev/null
as /usr/bin/sudo update-initramfs -u
as /usr/bin/sudo update-grub
as /usr/bin/sudo depmod -a
as /usr/bin/sudo ldconfig
