#!/usr/bin/env bash
# Records the goldens beside it, and `../replay.json.gz`, from a real control plane: etcd, kube-apiserver,
# kube-controller-manager, kube-scheduler and a kubelet, built from the Go modules in `upstream/`.
#
#   tests/data/kubectl/record.sh
#
# Not part of the tests: the build takes minutes, and what it says changes only with upstream.
# Everything runs in a network namespace of its own and below one folder, which goes at the end;
# the built program stays in the target folder. Needs Go, openssl and root.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
version=$(sed -n 's/^\s*k8s.io\/kubernetes //p' "$here/upstream/go.mod")
program=$root/target/tmp/upstream-$version

build() {
    [ -x "$program" ] && return
    mkdir -p "$(dirname "$program")"
    local v=k8s.io/component-base/version
    local stamp="-s -w -X $v.gitVersion=$version -X $v.gitTreeState=clean"
    CGO_ENABLED=0 nice go -C "$here/upstream" build -p 2 -trimpath -ldflags "$stamp" -o "$program" .
}

# Keys and certificates: a CA, the server's, the administrator's as rk names it, and one for tokens.
certificates() {
    local new="openssl req -x509 -newkey rsa:2048 -nodes -days 2"
    $new -subj /CN=ca -keyout ca.key -out ca.crt
    $new -extensions usr_cert -subj /CN=kube-apiserver -CA ca.crt -CAkey ca.key -keyout server.key -out server.crt \
        -addext subjectAltName=IP:127.0.0.1,IP:192.168.77.1,IP:10.43.0.1
    $new -subj /O=system:masters/CN=system:admin -CA ca.crt -CAkey ca.key -keyout admin.key -out admin.crt
    openssl genrsa -out tokens.key 2048
} 2>/dev/null

kubeconfig() {
    cat <<EOF
apiVersion: v1
kind: Config
clusters: [{name: default, cluster: {server: "https://127.0.0.1:6443", certificate-authority: $PWD/ca.crt}}]
users: [{name: default, user: {client-certificate: $PWD/admin.crt, client-key: $PWD/admin.key}}]
contexts: [{name: default, context: {cluster: default, user: default}}]
current-context: default
EOF
}

parts=()
part() {
    "$program" "$@" >"$1.log" 2>&1 &
    parts+=($!)
}

# Waits until something goes well, for a minute.
await() {
    for _ in $(seq 600); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    echo "does not come: $*; the logs are in $PWD" >&2
    exit 1
}

start() {
    ip link set lo up
    ip link add eth0 type veth peer name peer0
    ip link set peer0 up
    ip address add 192.168.77.1/24 dev eth0
    ip link set eth0 up
    ip route add default via 192.168.77.2
    certificates
    kubeconfig >kubeconfig
    part etcd --data-dir etcd
    part kube-apiserver --etcd-servers http://127.0.0.1:2379 --secure-port 6443 \
        --advertise-address 192.168.77.1 --service-cluster-ip-range 10.43.0.0/16 \
        --client-ca-file ca.crt --tls-cert-file server.crt --tls-private-key-file server.key \
        --service-account-key-file tokens.key --service-account-signing-key-file tokens.key \
        --service-account-issuer https://kubernetes.default.svc.cluster.local \
        --requestheader-client-ca-file ca.crt --requestheader-allowed-names front-proxy-client \
        --requestheader-username-headers X-Remote-User --requestheader-group-headers X-Remote-Group \
        --requestheader-extra-headers-prefix X-Remote-Extra- \
        --authorization-mode Node,RBAC --allow-privileged
    await kubectl --kubeconfig kubeconfig get --raw /readyz
    part kube-controller-manager --kubeconfig kubeconfig --root-ca-file ca.crt \
        --service-account-private-key-file tokens.key --use-service-account-credentials \
        --allocate-node-cidrs --cluster-cidr 10.42.0.0/16
    part kube-scheduler --kubeconfig kubeconfig
    # The kubelet sets its CSI plugins up before it registers, and needs the node for that.
    echo '{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}}' |
        kubectl --kubeconfig kubeconfig create -f -
    part kubelet kubeconfig
    await kubectl --kubeconfig kubeconfig wait --for=condition=Ready node/node-1
    await kubectl --kubeconfig kubeconfig get sa default
}

# As rk's own node: a control plane that has the images.
furnish() {
    kubectl label node node-1 node-role.kubernetes.io/control-plane=true
    for image in nginx:1.14.2 nginx:1.16.1 tomcat:9.0.55 tomcat:10.1.11 redis:6.2; do
        kubectl run "warm-${image%%:*}-${image##*[:.]}" --image="$image"
    done
    kubectl wait --for=condition=Ready pod --all --timeout=60s
    kubectl delete pod --all --now
    kubectl delete events --all
}

inside() {
    local work
    work=$(mktemp -d)
    trap "kill \${parts[*]} 2>/dev/null; wait; rm -rf '$work'" EXIT
    cd "$work"
    export TMPDIR=$work KUBECONFIG=$work/kubeconfig
    start
    furnish >/dev/null
    (cd "$root" && TMPDIR=/tmp cargo test --test it -- --ignored --exact kubectl::quickstart::record api::replay::record)
}

if [ "${1:-}" = inside ]; then
    inside
else
    build
    exec unshare --net --mount "$0" inside
fi
