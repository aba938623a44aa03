#!/bin/sh
# Installs rk: puts the executable in place, and starts it as a service.
#
#   curl -sfL ... | sh -                      a server on this machine
#   ... | RK_URL=https://server:6443 RK_TOKEN=... sh -     an agent of that server
#   ./install.sh server --disable-agent       arguments are the service's
#
# Where the executable comes from, the first that is set:
#   INSTALL_RK_FILE            a file on this machine
#   INSTALL_RK_ARTIFACT_URL    a URL; INSTALL_RK_SHA256 or the same URL with .sha256 must match it
#   (neither)                  the source tree that this script lies in, built with cargo
#
# Other variables, with k3s's habits:
#   INSTALL_RK_SKIP_DOWNLOAD=true    use the executable that is in place
#   INSTALL_RK_SKIP_ENABLE=true      install, but do not enable or start the service
#   INSTALL_RK_SKIP_START=true       install and enable, but do not start it
#   INSTALL_RK_FORCE_RESTART=true    restart it even if nothing has changed
#   INSTALL_RK_BIN_DIR               where the executable goes (/usr/local/bin)
#   INSTALL_RK_SYSTEMD_DIR           where the unit goes (/etc/systemd/system)
#   INSTALL_RK_NAME                  the service's name is rk-NAME (rk, or rk-agent for agents)
#   INSTALL_RK_EXEC                  the command and flags of the service, like this script's arguments
#   RK_*                             kept for the service, in a file that only root can read
#
# Where there is no systemd, rk runs in the background; its log is /var/log/rk.log. Running the
# script again upgrades: containers run on. `rk uninstall --yes` takes everything back.
set -eu

info() { echo "[rk] $*"; }
fatal() { echo "[rk] error: $*" >&2; exit 1; }

# What the service runs: this script's arguments, else INSTALL_RK_EXEC, else by RK_URL. As words for
# a shell in $command, one per line in $words.
choose_command() {
    case "${1:-}" in
        server|agent) ;;
        *)
            if [ -n "${RK_URL:-}" ]; then set -- agent "$@"; else set -- server "$@"; fi ;;
    esac
    role=$1
    if [ "$role" = agent ]; then
        [ -n "${RK_URL:-}" ] || case "$*" in *--server*) ;; *) fatal "an agent needs RK_URL, the server's address" ;; esac
        [ -n "${RK_TOKEN:-}${RK_TOKEN_FILE:-}" ] || case "$*" in *--token*) ;; *) fatal "an agent needs RK_TOKEN, the server's token (on the server: rk token)" ;; esac
        case "${RK_URL:-https://}" in https://*) ;; *) fatal "RK_URL must begin with https://, not ${RK_URL}" ;; esac
    fi
    command='' unit_command='' words=''
    for word in "$@"; do
        command="$command '$(printf %s "$word" | sed "s/'/'\\\\''/g")'"
        unit_command="$unit_command $(for_unit "$word")"
        words="${words}argument=$word
"
    done
}

# A word as a unit file wants it.
for_unit() {
    case $1 in
        ''|*[!A-Za-z0-9_=:,./@+-]*) printf '"%s"' "$(printf %s "$1" | sed 's/[\\"]/\\&/g; s/%/%%/g; s/\$/$$/g')" ;;
        *) printf %s "$1" ;;
    esac
}

settings() {
    bin_dir=${INSTALL_RK_BIN_DIR:-/usr/local/bin}
    systemd_dir=${INSTALL_RK_SYSTEMD_DIR:-/etc/systemd/system}
    if [ -n "${INSTALL_RK_NAME:-}" ]; then
        name=rk-$INSTALL_RK_NAME
    elif [ "$role" = agent ]; then
        name=rk-agent
    else
        name=rk
    fi
    if has_systemd || [ -d "$systemd_dir" ] || [ -n "${INSTALL_RK_SYSTEMD_DIR:-}" ]; then
        unit=$systemd_dir/$name.service
        environment=$unit.env
    else
        unit=
        environment=/etc/rk/$name.env
    fi
    receipt=/etc/rk/installed/$name
    log=/var/log/$name.log
    pid_file=/run/$name.pid
    new=$bin_dir/.rk.new
    here=$(cd "$(dirname "$0")" 2>/dev/null && pwd || echo /nonexistent)
}

has_systemd() { [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; }

state() { cat "$bin_dir/rk" ${unit:+"$unit"} "$environment" "$receipt" 2>/dev/null | sha256sum; }

# Leaves the executable at $new.
fetch() {
    url=$INSTALL_RK_ARTIFACT_URL
    get() { if command -v curl >/dev/null 2>&1; then curl -sfL -o "$2" "$1"; else wget -qO "$2" "$1"; fi; }
    get "$url" "$new" || fatal "cannot download $url"
    wanted=${INSTALL_RK_SHA256:-}
    if [ -z "$wanted" ]; then
        get "$url.sha256" "$new.sha256" || fatal "no checksum at $url.sha256; set INSTALL_RK_SHA256"
        wanted=$(cut -d' ' -f1 "$new.sha256")
    fi
    found=$(sha256sum "$new" | cut -d' ' -f1)
    [ "$found" = "$wanted" ] || fatal "the checksum of $url is $found, not $wanted"
}

build() {
    grep -qs '^name = "rk"' "$here/Cargo.toml" || fatal "no executable: set INSTALL_RK_FILE or INSTALL_RK_ARTIFACT_URL, or run this script in rk's source tree"
    target=$(uname -m)-unknown-linux-musl
    built=$here/target/$target/release/rk
    if command -v cargo >/dev/null 2>&1; then
        info "building rk in $here"
        rustup target add "$target" >/dev/null 2>&1 || true
        command -v musl-gcc >/dev/null 2>&1 || { apt-get update -qq && apt-get install -y -qq musl-tools >/dev/null; }
        (cd "$here" && cargo build --release --quiet --target "$target") || fatal "the build failed"
    elif [ ! -x "$built" ]; then
        fatal "building rk needs cargo (https://rustup.rs); or set INSTALL_RK_FILE"
    fi
    cp "$built" "$new"
}

put_executable() {
    if [ "${INSTALL_RK_SKIP_DOWNLOAD:-}" = true ]; then
        [ -x "$bin_dir/rk" ] || fatal "INSTALL_RK_SKIP_DOWNLOAD is set, and there is no $bin_dir/rk"
        return
    fi
    mkdir -p "$bin_dir"
    trap 'rm -f "$new" "$new.sha256"' EXIT
    if [ -n "${INSTALL_RK_FILE:-}" ]; then
        cp "$INSTALL_RK_FILE" "$new" || fatal "cannot read $INSTALL_RK_FILE"
    elif [ -n "${INSTALL_RK_ARTIFACT_URL:-}" ]; then
        fetch
    else
        build
    fi
    chmod 755 "$new"
    "$new" --version >/dev/null || fatal "what was fetched does not run on this machine"
    mv -f "$new" "$bin_dir/rk"
    info "installed $bin_dir/rk"
}

# What is put in place, for `rk uninstall`: first of all, so that it knows halves, too.
put_receipt() {
    mkdir -p "${receipt%/*}"
    {
        printf %s "$words"
        echo "executable=$bin_dir/rk"
        [ -z "$unit" ] || echo "unit=$unit"
        echo "environment=$environment"
        has_systemd || printf 'log=%s\npid=%s\n' "$log" "$pid_file"
    } >"$receipt"
    chmod 600 "$receipt"
}

# Variables of the service: everything that begins with RK_, and proxies.
put_environment() {
    mkdir -p "${environment%/*}"
    (umask 077 && env | sed -nE '/^(RK_[A-Z_]+|([Hh][Tt][Tt][Pp][Ss]?|[Nn][Oo])_[Pp][Rr][Oo][Xx][Yy])=/p' >"$environment")
    chmod 600 "$environment"
}

# The shims of running pods outlive a restart of the service: hence KillMode=process.
put_unit() {
    [ -n "$unit" ] || return 0
    cat >"$unit" <<UNIT
[Unit]
Description=rk: Kubernetes as one small executable ($role)
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
EnvironmentFile=-$environment
ExecStart=$bin_dir/rk$unit_command
KillMode=process
Delegate=yes
OOMScoreAdjust=-999
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
TimeoutStartSec=0
Restart=always
RestartSec=5s

[Install]
WantedBy=multi-user.target
UNIT
    chmod 644 "$unit"
}

start_systemd() {
    systemctl daemon-reload
    [ "${INSTALL_RK_SKIP_ENABLE:-}" = true ] && return
    systemctl enable --quiet "$name"
    [ "${INSTALL_RK_SKIP_START:-}" = true ] && return
    if [ "$before" = "$(state)" ] && [ "${INSTALL_RK_FORCE_RESTART:-}" != true ] && systemctl is-active --quiet "$name"; then
        info "nothing has changed, $name runs on"
        return
    fi
    systemctl restart "$name" || fatal "$name does not start; its log: journalctl -u $name"
    info "started $name; its log: journalctl -u $name"
}

start_background() {
    [ "${INSTALL_RK_SKIP_ENABLE:-}" != true ] && [ "${INSTALL_RK_SKIP_START:-}" != true ] || return 0
    if [ -f "$pid_file" ] && lives "$(cat "$pid_file")"; then
        if [ "$before" = "$(state)" ] && [ "${INSTALL_RK_FORCE_RESTART:-}" != true ]; then
            info "nothing has changed, $name runs on"
            return
        fi
        stop_background
    fi
    : >>"$log"
    old_lines=$(wc -l <"$log")
    # The command was quoted above, so that it can be read again here.
    eval "setsid '$bin_dir/rk' $command </dev/null >>'$log' 2>&1 &
          echo \$! >'$pid_file'"
    await_background
    info "no systemd here: $name runs in the background; its log: $log"
}

# Whether a process lives. One that has ended and whose parent does not collect it does not.
lives() { [ -e "/proc/$1/exe" ]; }

said() { tail -n "+$((old_lines + 1))" "$log" 2>/dev/null; }

# Until the log says so: an agent waits for its server for as long as it takes.
await_background() {
    waited=0
    until said | grep -q ' ready$'; do
        lives "$(cat "$pid_file")" || { said >&2; fatal "$name does not start; its log: $log"; }
        [ "$waited" -lt 600 ] || { info "$name is not ready yet; its log: $log"; return; }
        sleep 0.1
        waited=$((waited + 1))
    done
}

stop_background() {
    pid=$(cat "$pid_file")
    kill "$pid" 2>/dev/null || return 0
    waited=0
    while lives "$pid"; do
        [ "$waited" -lt 150 ] || fatal "process $pid, the old $name, does not stop"
        sleep 0.1
        waited=$((waited + 1))
    done
}

main() {
    [ "$(id -u)" = 0 ] || fatal "installing rk needs root"
    [ "$(uname -s)" = Linux ] || fatal "rk runs on Linux, not on $(uname -s)"
    case "$(uname -m)" in x86_64|aarch64) ;; *) fatal "there is no rk for $(uname -m) yet" ;; esac
    if [ $# -eq 0 ] && [ -n "${INSTALL_RK_EXEC:-}" ]; then
        eval "set -- $INSTALL_RK_EXEC"
    fi
    choose_command "$@"
    settings
    before=$(state)
    put_receipt
    put_executable
    put_environment
    put_unit
    if has_systemd; then start_systemd; else start_background; fi
    if [ "$role" = server ]; then info "kubeconfig: /etc/rk/rk.yaml (export KUBECONFIG=/etc/rk/rk.yaml)"; fi
    info "to remove rk and all that it made: rk uninstall --yes"
}

main "$@"
