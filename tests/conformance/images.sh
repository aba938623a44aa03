#!/bin/sh
# Makes the images that the conformance suite runs, as OCI archives under the names by which it asks
# for them: programs from the Go modules of Kubernetes, the rest from Debian packages.
#
#   images.sh PROGRAMS DIRECTORY      PROGRAMS has `agnhost`, and `nnp`
set -eu
here=$(cd "$(dirname "$0")" && pwd)
programs=$(cd "$1" && pwd)
mkdir -p "$2"
out=$(cd "$2" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
e2e=registry.k8s.io/e2e-test-images
path='"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]'

# shellcheck source=examples/oci.sh
. "$here/../../examples/oci.sh"

# The suite passes on environment variables that no identifier could name: bash, which is `sh` by
# name, keeps those. The errors of `/bin/sh` are to be those of busybox.
unpack "$work/busybox" busybox bash
ln -sf busybox "$work/busybox/bin/sh"
mkdir -p "$work/busybox/usr/local/bin"
ln -s /bin/bash "$work/busybox/usr/local/bin/sh"
applets "$work/busybox"
pack "$out/busybox.tar" "$work/busybox" $e2e/busybox:1.37.0-2 "$path,\"Cmd\":[\"sh\"]"
pack "$out/pause.tar" "$work/busybox" registry.k8s.io/pause:3.10.2 \
    "$path,\"Entrypoint\":[\"sh\",\"-c\",\"trap 'exit 0' TERM INT; while :; do sleep 3600 & wait; done\"]"
pack "$out/nonroot.tar" "$work/busybox" $e2e/nonroot:1.5 "$path,\"Cmd\":[\"sh\"],\"User\":\"1234\""
install -m 4755 -D "$programs/nnp" "$work/busybox/usr/local/bin/nnp"
pack "$out/nonewprivs.tar" "$work/busybox" $e2e/nonewprivs:1.4 "$path,\"Cmd\":[\"nnp\"]"

unpack "$work/agnhost" busybox bash libc-bin curl bind9-dnsutils netcat-openbsd iproute2 socat util-linux
applets "$work/agnhost"
# The suite's options are those of OpenBSD's.
ln -sf nc.openbsd "$work/agnhost/bin/nc"
install -m 755 "$programs/agnhost" "$work/agnhost/agnhost"
ln -s agnhost "$work/agnhost/agnhost-2"
mkdir -p "$work/agnhost/uploads"
# What upstream's image has for tests to fetch, and to serve by.
porter=$(cd "$here" && go list -m -f '{{.Dir}}' k8s.io/kubernetes)/test/images/agnhost/porter
install -m 644 "$porter/localhost.crt" "$porter/localhost.key" "$work/agnhost/"
echo user-defined-in-image:x:1000:1000::/:/bin/sh >>"$work/agnhost/etc/passwd"
printf 'user-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n' \
    >>"$work/agnhost/etc/group"
agnhost="$path,\"Entrypoint\":[\"/agnhost\"],\"Cmd\":[\"pause\"]"
for version in 2.66.1 2.55; do
    pack "$out/agnhost-$version.tar" "$work/agnhost" $e2e/agnhost:$version "$agnhost"
done
# A test that mounts one of these looks for the system that upstream's is built on.
rm -f "$work/agnhost/etc/os-release"
echo 'NAME="Alpine Linux"' >"$work/agnhost/etc/os-release"
for pet in nautilus kitten; do
    echo "{ \"image\": \"$pet.jpg\" }" >"$work/agnhost/data.json"
    pack "$out/$pet.tar" "$work/agnhost" $e2e/$pet:1.8 \
        "$path,\"Entrypoint\":[\"/agnhost\"],\"Cmd\":[\"test-webserver\"]"
done
rm "$work/agnhost/data.json"
pack "$out/dns.tar" "$work/agnhost" $e2e/glibc-dns-testing:2.1.1 "$path,\"Cmd\":[\"bash\"]"
pack "$out/ipc.tar" "$work/agnhost" $e2e/ipc-utils:1.4 "$path,\"Cmd\":[\"sh\"]"

unpack "$work/nginx" nginx-light busybox
applets "$work/nginx"
mkdir -p "$work/nginx/var/log/nginx" "$work/nginx/var/lib/nginx" "$work/nginx/run"
echo www-data:x:33:33::/:/bin/sh >>"$work/nginx/etc/passwd"
echo www-data:x:33: >>"$work/nginx/etc/group"
cat >"$work/nginx/etc/nginx/nginx.conf" <<EOF
user www-data;
error_log /dev/stderr;
events {}
http {
    access_log /dev/stdout;
    server { listen 80; root /usr/share/nginx/html; }
}
EOF
for version in 1.27.0-2 1.28.0-2; do
    pack "$out/nginx-$version.tar" "$work/nginx" $e2e/nginx:$version \
        "$path,\"Cmd\":[\"nginx\",\"-g\",\"daemon off;\"]"
done
