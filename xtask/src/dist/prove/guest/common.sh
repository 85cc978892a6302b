# What every script of the guest begins with: the first thing that is not so ends it, with what the journal says.
set -eEuo pipefail
trap 'echo "NOT SO: $0:$LINENO: $BASH_COMMAND"; journalctl --no-pager --lines 60 --output cat | tail -n 60' ERR

# The machine has started, this script apart; whether each of Debian's own services could is not the question.
systemctl is-system-running --wait >/dev/null || true

SOCKET=unix:/run/netspy/netspy.sock

proved() { echo "proved: $*"; }

# Waits until the command succeeds.
soon() {
    local limit=$((SECONDS + 300))
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < limit)) || { echo "waited in vain for: $*"; return 1; }
        sleep 0.5
    done
}

# Succeeds if the command fails.
refused() {
    if "$@"; then
        echo "should have failed: $*"
        return 1
    fi
}

# A property of the service, as systemd has it.
shows() { systemctl show --value --property "$1" netspy-server.service; }

# A field of a process's status, proc(5).
status_of() { sed -n "s/^$2:[[:space:]]*//p" "/proc/$1/status"; }

# What the service has logged contains this text.
logged() { journalctl --unit netspy-server.service --output cat --grep "$1" --quiet >/dev/null; }

# The body of an answer over TCP; fails if the status is not 200. In a shell of its own: one that cannot connect ends.
ask() (
    exec 8<>/dev/tcp/127.0.0.1/8080
    printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$1" >&8
    read -r _ status _ <&8
    sed '1,/^\r$/d' <&8
    [ "$status" = 200 ]
)

# A program of its own name that connects to a closed port.
visit() {
    cp /bin/bash "/usr/local/bin/$1"
    refused "$1" -c "</dev/tcp/127.0.0.1/$2" 2>/dev/null
}

# The server has recorded that visit, and knows who it was.
knows() {
    ask "/api/list-connections?process=$1&since=1h" | jq --exit-status --arg exe "/usr/local/bin/$1" --arg to "127.0.0.1:$2" \
        '[.events_by_pid[][]] | any(.destination == $to and .outcome == "refused" and .exe == $exe)' >/dev/null
}

# What was checked at start is right, and every event is traced.
is_whole() {
    ask /api/programs | jq --exit-status '[.programs[] | select(.status != "active") | .name] == []' >/dev/null
    ask /api/programs | jq --exit-status \
        '[.programs[] | select(.check == "passed") | .name] | sort == ["accept", "connection", "packet_drop"]' >/dev/null
    ask /health | jq --exit-status '.status == "healthy"' >/dev/null
    ask /readyz >/dev/null
}

# The process has CAP_BPF, CAP_SYS_ADMIN, CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH left, no way to more, and a filter.
is_confined() {
    [ "$(status_of "$1" CapEff)" = 0000008000280004 ]
    [ "$(status_of "$1" CapPrm)" = 0000008000280004 ]
    [ "$(status_of "$1" CapInh) $(status_of "$1" CapAmb)" = "0000000000000000 0000000000000000" ]
    [ "$(status_of "$1" NoNewPrivs) $(status_of "$1" Seccomp)" = "1 2" ]
}
