#!/bin/sh
# From nothing to a running application: installs rk (building it where there is no executable),
# waits until the node is Ready, and applies the guestbook. The images are made on the spot; where
# they are already, GUESTBOOK_IMAGES names the folder with the archives.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
export KUBECONFIG=/etc/rk/rk.yaml

"$here/../install.sh" server
if ! command -v kubectl >/dev/null 2>&1; then
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends kubernetes-client >/dev/null
fi

echo "waiting for the node"
deadline=$(($(date +%s) + 120))
until kubectl wait --for=condition=Ready node --all --timeout=30s 2>/dev/null; do
    [ "$(date +%s)" -lt "$deadline" ] || { echo "the node is not Ready; see the log" >&2; exit 1; }
    sleep 0.2
done

images=${GUESTBOOK_IMAGES:-}
if [ -z "$images" ]; then
    images=$(mktemp -d)
    trap 'rm -rf "$images"' EXIT
    "$here/guestbook/images.sh" "$images"
fi
for archive in "$images"/*.tar; do rk images import "$archive"; done

kubectl apply -f "$here/guestbook/guestbook.yaml"
kubectl rollout status deployment/guestbook-redis --timeout=120s
kubectl rollout status deployment/guestbook --timeout=120s

address=$(kubectl get node -o jsonpath='{.items[0].status.addresses[?(@.type=="InternalIP")].address}')
echo
echo "The cluster runs. Its kubeconfig:    export KUBECONFIG=$KUBECONFIG"
echo "The guestbook's page:                curl http://$address:30080/"
