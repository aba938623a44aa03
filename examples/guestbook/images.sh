#!/bin/sh
# Makes the guestbook's two images from Debian packages, as OCI archives, without any registry or
# container engine. Needs apt-get and dpkg-deb; installs nothing on this machine.
#
#   images.sh DIRECTORY      writes DIRECTORY/guestbook-web.tar and DIRECTORY/guestbook-redis.tar
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# shellcheck source=examples/oci.sh
. "$here/../oci.sh"

unpack "$work/web" busybox
applets "$work/web"
mkdir -p "$work/web/www/cgi-bin"
cp "$here/image/index.cgi" "$work/web/www/cgi-bin/index.cgi"
chmod 755 "$work/web/www/cgi-bin/index.cgi"
pack "$out/guestbook-web.tar" "$work/web" docker.io/guestbook/web:1 \
    '"Cmd":["/bin/httpd","-f","-p","8080","-h","/www"],"Env":["PATH=/bin"],"ExposedPorts":{"8080/tcp":{}},"User":"nobody","WorkingDir":"/www"'

unpack "$work/redis" redis-server busybox
applets "$work/redis"
mkdir -p "$work/redis/data"
chmod 777 "$work/redis/data"
pack "$out/guestbook-redis.tar" "$work/redis" docker.io/guestbook/redis:7 \
    '"Entrypoint":["/usr/bin/redis-server"],"Env":["PATH=/usr/bin:/bin"],"ExposedPorts":{"6379/tcp":{}},"User":"redis","WorkingDir":"/data"'
