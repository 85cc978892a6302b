#!/bin/bash
# The package on a running Debian: systemd starts it, holds it, watches it, restarts it.
. "${0%/*}/common.sh"

# Before anything of netspy is there: a connection that it has to find, to a service of systemd's.
exec 9<>/dev/tcp/127.0.0.1/7000

dpkg --install /proof/netspy.deb
systemctl is-active --quiet netspy-server.socket netspy-server.service
[ "$(shows Type) $(shows NotifyAccess)" = "notify main" ]
proved "installed, and started by systemd: the server said READY=1"

pid=$(shows MainPID)
[ "$(status_of "$pid" Uid | cut -f 1)" = "$(id -u netspy)" ]
is_confined "$pid"
[ "$(readlink "/proc/$pid/ns/net")" != "$(readlink /proc/1/ns/net)" ]
[ "$(stat --format '%a %U %G' /run/netspy/netspy.sock)" = "660 netspy netspy" ]
[ "$(stat --format '%a %U' /var/lib/netspy /var/lib/netspy/netspy.db | tr '\n' ' ')" = "700 netspy 600 netspy " ]
proved "it is the user netspy, with four capabilities, no network of its own, a socket 0660 and a history 0600"

is_whole
visit visitor 1
soon knows visitor 1
ask "/api/list-packet-drops?process=visitor&since=1h" | jq --exit-status \
    '[.events_by_pid[][]] | any(.drop_reason == "NO_SOCKET" and (.location | contains("+0x")))' >/dev/null
proved "from a network namespace of its own it checks what the kernel reports, and traces the machine"

ask "/api/list-connections?remote_port=7000&since=1h" | jq --exit-status --argjson pid $$ \
    '[.events_by_pid[][]] | any(.pid == $pid and .found and .destination == "127.0.0.1:7000")' >/dev/null
ask /api/listeners | jq --exit-status \
    '.listeners | any(.address == "127.0.0.1" and .port == 7000 and .pid == 1)' >/dev/null
exec 9<&-
soon eval 'ask "/api/list-connections?remote_port=7000&since=1h" | jq --exit-status "[.events_by_pid[][]] | any(.ending != null)"'
proved "it lists the sockets of the machine's network namespace: those that were there before it, and who listens"

useradd --groups netspy member
useradd stranger
runuser --user member -- netspy --server "$SOCKET" status >/dev/null
runuser --user member -- netspy --server "$SOCKET" list --process visitor --output text | grep '127.0.0.1:1 .*refused'
code=0
words=$(runuser --user stranger -- netspy --server "$SOCKET" status 2>&1) || code=$?
[ "$code" = 4 ]
grep --quiet 'adduser USER netspy' <<<"$words"
proved "a member of the group netspy may ask through the socket, another user may not"

echo 'keep-for = "3d"' >/etc/netspy/server.toml
systemctl reload netspy-server.service
soon logged 'keep-for is 3d from now on'
[ "$(shows MainPID)" = "$pid" ]
proved "systemctl reload takes settings over"

systemctl stop netspy-server.service
[ "$(shows Result) $(shows ActiveState)" = "success inactive" ]
systemctl is-active --quiet netspy-server.socket
# Again and again: an emulated start may take longer than the client's patience.
soon runuser --user member -- netspy --server "$SOCKET" status
systemctl is-active --quiet netspy-server.service
[ "$(shows MainPID)" != "$pid" ]
knows visitor 1
proved "stopped, it ends in peace; the first client starts it again, and the history is there"

systemctl stop netspy-server.service
is_whole
systemctl restart netspy-server.service
is_whole
proved "a client over TCP starts it as well; restarted, it is whole"

pid=$(shows MainPID)
systemctl kill --signal KILL netspy-server.service
soon eval '[ "$(shows NRestarts)" = 1 ]'
soon systemctl is-active netspy-server.service
[ "$(shows MainPID)" != "$pid" ]
knows visitor 1
proved "killed, it is started again, and the history is there"

mkdir -p /run/systemd/system/netspy-server.service.d
printf '[Service]\nWatchdogSec=10\n' >/run/systemd/system/netspy-server.service.d/watchdog.conf
systemctl daemon-reload
systemctl restart netspy-server.service
[ "$(shows WatchdogUSec)" = 10s ]
pid=$(shows MainPID)
sleep 25
[ "$(shows MainPID) $(shows NRestarts)" = "$pid 0" ]
kill -STOP "$pid"
soon eval '[ "$(shows NRestarts)" = 1 ]'
soon systemctl is-active netspy-server.service
logged 'Watchdog timeout'
rm -r /run/systemd/system/netspy-server.service.d
systemctl daemon-reload
systemctl restart netspy-server.service
proved "it says that it lives; when it no longer does, systemd starts it again"

log=$(journalctl --unit netspy-server.service --output cat)
grep --fixed-strings --quiet 'serving on unix:/run/netspy/netspy.sock' <<<"$log"
grep --fixed-strings --quiet 'serving on http://127.0.0.1:8080' <<<"$log"
refused grep --fixed-strings --quiet $'\e' <<<"$log"
refused grep --fixed-strings --quiet '<6>' <<<"$log"
journalctl --unit netspy-server.service --output json | jq --slurp --exit-status \
    '[.[] | select(.MESSAGE | strings | startswith("serving on")) | .PRIORITY] | length > 0 and all(. == "6")' >/dev/null
journalctl --unit netspy-server.service --priority warning --output cat
proved "the journal has its log, with priorities and without colours"

systemd-analyze security --threshold=20 --no-pager netspy-server.service | tail -n 1
proved "as it is loaded, systemd-analyze security gives the unit at most 2.0"

bash "${0%/*}/reference.sh"
