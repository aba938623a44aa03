#!/usr/bin/env bash
# Runs Kubernetes' own conformance suite, built from its Go module, against rk.
#
#   tests/conformance/run.sh              every conformance test that needs one node
#   tests/conformance/run.sh FOCUS        those whose names match a regular expression
#
# SKIP is a regular expression of names to leave out, RK the executable (the release build), NODES
# how many nodes there are: 1, or 2, the second in a network namespace beside that of the first. The
# report is written to target/tmp/conformance/report. Not part of the tests: the first build takes a
# quarter of an hour, and all of the suite two hours.
# Everything runs in network namespaces of its own and below one folder, which goes at the end.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
version=$(sed -n 's/^\s*k8s.io\/kubernetes //p' "$here/go.mod")
kept=$root/target/tmp/conformance
programs=$kept/$version
nodes=${NODES:-1}
rk=${RK:-$root/target/x86_64-unknown-linux-musl/release/rk}

build() {
    mkdir -p "$programs"
    local module=k8s.io/kubernetes of=k8s.io/component-base/version major minor
    IFS=. read -r major minor _ <<<"${version#v}"
    local says="-X $of.gitVersion=$version -X $of.gitMajor=$major -X $of.gitMinor=$minor"
    local flags=(-trimpath -ldflags "-s -w $says")
    cd "$here"
    export CGO_ENABLED=0
    [ -x "$programs/e2e.test" ] || go test -c -vet=off "${flags[@]}" -o "$programs/e2e.test" $module/test/e2e
    [ -x "$programs/agnhost" ] || go build "${flags[@]}" -o "$programs/agnhost" $module/test/images/agnhost
    [ -x "$programs/nnp" ] || go build "${flags[@]}" -o "$programs/nnp" $module/test/images/nonewprivs
    [ -x "$programs/registry" ] || go build "${flags[@]}" -o "$programs/registry" ./registry
    [ -d "$kept/images" ] || { ./images.sh "$programs" "$kept/images.new" && mv "$kept/images.new" "$kept/images"; }
}

# Waits until something goes well, for a minute.
await() {
    for _ in $(seq 600); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    echo "does not come: $*; the log is $work/log" >&2
    exit 1
}

# The logs are kept beside the report.
finish() {
    kill "$server" ${agent:+"$agent"} || true
    [ -z "${agent:-}" ] || wait "$server" "$agent" || true
    kill "$registry" ${machine:+"$machine"} 2>/dev/null || true
    wait
    cp "$work"/*log "$kept/"
    "$rk" uninstall --yes "${dirs[@]}" >/dev/null
    [ -z "${agent:-}" ] || "$rk" uninstall --yes "${agent_dirs[@]}" >/dev/null
    rm -rf "$work"
}

# A second node, on the other end of the first one's cable, and the ways between their pods.
second() {
    unshare --net sleep infinity &
    machine=$!
    await nsenter --net -t "$machine" true
    there=(nsenter --net -t "$machine")
    ip link set peer0 netns "$machine"
    "${there[@]}" ip link set lo up
    "${there[@]}" ip link set peer0 name eth0
    "${there[@]}" ip address add 192.168.77.2/24 dev eth0
    "${there[@]}" ip link set eth0 up
    "${there[@]}" ip route add default via 192.168.77.1
    "${there[@]}" "$rk" agent join "${agent_dirs[@]}" --node-name node-2 --private-registry "$work/registries" \
        --server https://192.168.77.1:6443 --token "$("$rk" token --data-dir "$work/data")" \
        >"$work/agent-log" 2>&1 &
    agent=$!
    await kubectl wait --for=condition=Ready node/node-2
    cidr() { kubectl get node "$1" -o 'jsonpath={.spec.podCIDR}'; }
    ip route add "$(cidr node-2)" via 192.168.77.2
    "${there[@]}" ip route add "$(cidr node-1)" via 192.168.77.1
}

inside() {
    work=$(mktemp -d)
    ip link set lo up
    ip link add eth0 type veth peer name peer0
    ip link set peer0 up
    ip address add 192.168.77.1/24 dev eth0
    ip link set eth0 up
    ip route add default via 192.168.77.2
    # Some tests insist on pulling what is there already.
    "$programs/registry" 192.168.77.1:5000 "$kept"/images/*.tar &
    registry=$!
    echo 'mirrors: {registry.k8s.io: {endpoint: ["http://192.168.77.1:5000"]}}' >"$work/registries"
    dirs=(--data-dir "$work/data" --run-dir "$work/run" --config /dev/null)
    agent_dirs=(--data-dir "$work/agent-data" --run-dir "$work/agent-run" --config /dev/null)
    "$rk" server "${dirs[@]}" --private-registry "$work/registries" --write-kubeconfig "$work/kubeconfig" --node-name node-1 >"$work/log" 2>&1 &
    server=$!
    trap finish EXIT
    export KUBECONFIG=$work/kubeconfig
    await kubectl wait --for=condition=Ready node/node-1
    [ "$nodes" = 1 ] || second
    for image in "$kept"/images/*.tar; do
        "$rk" images import "${dirs[@]::4}" "$image" >/dev/null
        [ "$nodes" = 1 ] || "$rk" images import "${agent_dirs[@]::4}" "$image" >/dev/null
    done
    await kubectl get serviceaccount default
    rm -rf "$kept/report"
    "$programs/e2e.test" --kubeconfig "$KUBECONFIG" --provider skeleton --num-nodes "$nodes" \
        --kubectl-path "$(command -v kubectl)" --report-dir "$kept/report" \
        --allowed-not-ready-nodes 0 --delete-namespace-on-failure=true \
        --ginkgo.focus "$1" --ginkgo.skip "${SKIP:-\[Disruptive\]}" --ginkgo.label-filter Conformance \
        --ginkgo.no-color --ginkgo.timeout 4h
}

if [ "${1:-}" = inside ]; then
    inside "$2"
else
    build
    exec unshare --net "$here/run.sh" inside "${1:-.}"
fi
