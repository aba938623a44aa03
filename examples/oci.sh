# shellcheck shell=sh
# Image archives from Debian packages, for scripts that source this: `unpack`, `applets`, `pack`.
# They need apt-get and dpkg-deb, install nothing, and work below $work, which the script makes.
: "${work:?}"

# Unpacks packages, and all that they depend on, into a root file system.
unpack() {
    root=$1
    shift
    mkdir -p "$work/packages" "$root"
    names=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
        --no-replaces --no-enhances "$@" | grep '^[a-z0-9]' | grep -v -e '^debconf' -e '^cdebconf' \
        -e '^perl' -e ':i386$' | sort -u)
    # shellcheck disable=SC2086 # one word per package
    (cd "$work/packages" && rm -f ./*.deb && apt-get -o APT::Sandbox::User=root download -qq $names >/dev/null)
    for package in "$work"/packages/*.deb; do dpkg-deb -x "$package" "$root"; done
    rm -rf "$root/usr/share/doc" "$root/usr/share/man" "$root/usr/share/locale"
    mkdir -p "$root/tmp" "$root/proc" "$root/sys" "$root/dev" "$root/etc"
    chmod 1777 "$root/tmp"
    printf 'root:x:0:0:root:/:/bin/sh\nredis:x:100:100::/data:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n' >"$root/etc/passwd"
    printf 'root:x:0:\nredis:x:100:\nnogroup:x:65534:\n' >"$root/etc/group"
}

digest() { sha256sum "$1" | cut -d' ' -f1; }

# Moves a file into the image's blobs; prints its digest.
blob() {
    sum=$(digest "$1")
    mv "$1" "$layout/blobs/sha256/$sum"
    echo "$sum"
}

# Packs a root file system: archive, image name, and the fields of the image's configuration.
pack() {
    archive=$1 root=$2 name=$3 config=$4
    layout=$work/layout
    rm -rf "$layout"
    mkdir -p "$layout/blobs/sha256"
    case "$(dpkg --print-architecture)" in arm64) arch=arm64 ;; *) arch=amd64 ;; esac
    tar -C "$root" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf "$work/layer" .
    diff_id=$(digest "$work/layer")
    gzip -n <"$work/layer" >"$work/layer.gz"
    layer_size=$(stat -c %s "$work/layer.gz")
    layer=$(blob "$work/layer.gz")
    printf '{"architecture":"%s","os":"linux","config":{%s},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
        "$arch" "$config" "$diff_id" >"$work/config"
    config_size=$(stat -c %s "$work/config")
    config_digest=$(blob "$work/config")
    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:%s","size":%s}]}' \
        "$config_digest" "$config_size" "$layer" "$layer_size" >"$work/manifest"
    manifest_size=$(stat -c %s "$work/manifest")
    manifest=$(blob "$work/manifest")
    printf '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
    printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s,"annotations":{"io.containerd.image.name":"%s","org.opencontainers.image.ref.name":"%s"}}]}' \
        "$manifest" "$manifest_size" "$name" "${name##*:}" >"$layout/index.json"
    tar -C "$layout" -cf "$archive" oci-layout index.json blobs
    rm -f "$work/layer"
    echo "made $name: $archive"
}

# Links all of busybox's programs into a root file system that has busybox.
applets() {
    "$1/bin/busybox" --list | while read -r applet; do
        [ -e "$1/bin/$applet" ] || ln -s busybox "$1/bin/$applet"
    done
}
