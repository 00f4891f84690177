#!/bin/sh
# Build the systemd container image that the molecule scenarios provision, from Debian's own packages, and print its name.
#
# The image is a plain Debian host that nobody has touched: systemd, Python, an SSH server. Its tag is the digest of this script
# and of the machine's own certificate authorities, so a second call does nothing but print the name.
# Needs root, podman, runc and debootstrap:  apt-get install --no-install-recommends podman runc debootstrap
set -eu

suite=bookworm
packages=systemd-sysv,dbus,python3,openssh-server,ca-certificates,iproute2,procps,curl,sudo
authorities=/usr/local/share/ca-certificates

for program in podman runc debootstrap; do
    command -v "$program" >/dev/null || {
        echo "test_image.sh: $program is missing; run: apt-get install --no-install-recommends podman runc debootstrap" >&2
        exit 2
    }
done

tag=$( { cat "$0"; find "$authorities" -name '*.crt' -type f -exec cat {} + 2>/dev/null || true; } | sha256sum | cut -c 1-12)
image=localhost/voxtral-test-host:$tag
if podman image exists "$image"; then
    echo "$image"
    exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
echo "test_image.sh: building $image (about a minute, once)" >&2

debootstrap --variant=minbase --include="$packages" "$suite" "$work/root" >"$work/log" 2>&1 || {
    tail -n 20 "$work/log" >&2
    echo "test_image.sh: debootstrap failed; is the Debian mirror reachable?" >&2
    exit 2
}
if ls "$authorities"/*.crt >/dev/null 2>&1; then
    cp "$authorities"/*.crt "$work/root/usr/local/share/ca-certificates/"
    chroot "$work/root" update-ca-certificates >/dev/null 2>&1
fi
# An operator logs in as an ordinary user and becomes root by sudo.
chroot "$work/root" useradd --create-home --shell /bin/bash deploy
echo 'deploy ALL=(ALL) NOPASSWD: ALL' >"$work/root/etc/sudoers.d/deploy"
chmod 0440 "$work/root/etc/sudoers.d/deploy"
# What belongs to real machines only.
for unit in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer getty.target console-getty.service \
    systemd-logind.service systemd-timesyncd.service; do
    ln -sf /dev/null "$work/root/etc/systemd/system/$unit"
done
rm -f "$work"/root/var/cache/apt/archives/*.deb
tar -C "$work/root" -c . | podman import --quiet --change 'CMD ["/sbin/init"]' - "$image" >&2
echo "$image"
