#!/bin/bash
# The same machine after a restart: the service came with it. The package is upgraded under clients, and removed.
. "${0%/*}/common.sh"

systemctl is-active --quiet netspy-server.socket netspy-server.service
is_whole
knows visitor 1
visit again 2
soon knows again 2
proved "it starts with the machine, and the history is there"

opened=$(systemctl show --value --property ActiveEnterTimestampMonotonic netspy-server.socket)
pid=$(shows MainPID)
touch /run/upgrading
while [ -e /run/upgrading ]; do
    # To be kept waiting is no refusal.
    words=$(runuser --user member -- netspy --server "$SOCKET" status 2>&1) ||
        grep --quiet 'no answer within' <<<"$words" || echo "$words" >>/run/refused
done &
dpkg --install /proof/netspy-next.deb
rm /run/upgrading
wait
[ ! -e /run/refused ] || { cat /run/refused; false; }
[ "$(systemctl show --value --property ActiveEnterTimestampMonotonic netspy-server.socket)" = "$opened" ]
[ "$(shows MainPID)" != "$pid" ]
is_whole
knows again 2
netspy-server config | grep 'keep-for *3d *file /etc/netspy/server.toml'
proved "upgraded under clients: none was refused, the settings and the history are there"

dpkg --remove netspy
[ -e /etc/netspy/server.toml ]
[ -e /var/lib/netspy/netspy.db ]
dpkg --purge netspy
for place in /etc/netspy /var/lib/netspy /run/netspy /lib/systemd/system/netspy-server.service; do [ ! -e "$place" ]; done
refused getent passwd netspy
refused getent group netspy
[ -z "$(systemctl list-units --all --plain --no-legend 'netspy-server*')" ]
proved "removed, it ends; purged, nothing of it is left"
