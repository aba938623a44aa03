#!/bin/sh
# Unpacks a Debian kernel for the test of power cuts, without installing it. Needs apt-get and
# dpkg-deb.
set -eu
folder=${TMPDIR:-/tmp}/rk-kernel
[ -e "$folder/done" ] && exit
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-.*\)/\1/p')
apt-get -o APT::Sandbox::User=root download -qq "$package" >/dev/null
rm -rf "$folder"
dpkg-deb -x "$package"_*.deb "$folder"
touch "$folder/done"
