#!/bin/bash
# The guest's only task: the script that the kernel's command line names. How it ended is the last line; then the guest ends.
script=$(sed 's/.*netspy-proof=\([a-z]*\).*/\1/' /proc/cmdline)
# Through a pipe: on a terminal the client would show how long it waits.
bash "/proof/$script.sh" 2>&1 | cat
code=${PIPESTATUS[0]}
echo
echo "NETSPY-PROOF-EXIT $code"
systemctl poweroff
