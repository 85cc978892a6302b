#!/bin/bash
# The image: built and run with podman by the very commands that the Dockerfile gives for docker.
. "${0%/*}/common.sh"
cd /proof/tree

# A command of the Dockerfile's comments, with its continuation lines.
documented() { sed -n "/^#     docker $1 /,/[^\\\\]\$/s/^# *//p" packaging/docker/Dockerfile | sed "s/^docker/podman/"; }

eval "$(documented build)"
mkdir -p /run/netspy
run=$(documented run)
eval "${run/podman run/podman run --detach --name netspy}" || { podman logs netspy; false; }
soon ask /readyz
is_whole
pid=$(podman inspect --format '{{.State.Pid}}' netspy)
is_confined "$pid"
echo "AppArmor: $(cat "/proc/$pid/attr/current")"
visit guest 3
soon knows guest 3
ask "/api/list-connections?process=guest&since=1h" | jq --exit-status \
    '[.events_by_pid[][]] | any(.unit == "netspy-proof.service" and .source != null)' >/dev/null
ask "/api/listeners" | jq --exit-status '.listeners | any(.address == "127.0.0.1" and .port == 7000 and .pid == 1)' >/dev/null
podman exec netspy /usr/bin/netspy status >/dev/null
[ "$(stat --format '%a' /run/netspy/netspy.sock)" = 660 ]
podman stop netspy >/dev/null
[ "$(podman inspect --format '{{.State.ExitCode}}' netspy)" = 0 ]
proved "the image runs with the documented privileges, and records what the host does"

# The same image as the DaemonSet of packaging/kubernetes would have it run; without a network of the host there is no TCP.
mkdir -p /var/lib/netspy
eval "$(cat pod-run)" || { podman logs pod; false; }
soon eval "$(cat pod-probe)"
is_confined "$(podman inspect --format '{{.State.Pid}}' pod)"
visit again 4
answer=$(podman exec pod /usr/bin/netspy --server "$SOCKET" list --process again --output json)
jq --exit-status '.columns as $names | [.rows[] | [$names, .] | transpose | map({(.[0]): .[1]}) | add]
    | any(.destination == "127.0.0.1:4" and .exe == "/usr/local/bin/again" and .unit == "netspy-proof.service")' \
    <<<"$answer" >/dev/null || { echo "$answer"; false; }
podman stop pod >/dev/null
proved "the image runs with what the DaemonSet gives it, is ready by its probe, and records what the host does"
