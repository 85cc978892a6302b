#!/bin/bash
# The man pages and completions that are installed: readable without a warning, and they complete.
. "${0%/*}/common.sh"

pages=(/usr/share/man/man1/netspy*.1.gz)
[ ${#pages[@]} -ge 10 ]
for page in "${pages[@]}"; do
    words=$(MANWIDTH=100 man --warnings --local-file "$page" 2>&1 >/run/page)
    [ -z "$words" ] || { echo "$page: $words"; false; }
    [ "$(wc -l </run/page)" -ge 10 ]
    lexgrog "$page" >/dev/null
done
man netspy-server | grep --quiet -e '--keep-for'
man netspy-list | grep --quiet -e '--failed'
proved "each of ${#pages[@]} man pages is found, has a name and is shown without a warning"

for program in netspy netspy-server; do
    bash -n "/usr/share/bash-completion/completions/$program"
    zsh --no-exec "/usr/share/zsh/vendor-completions/_$program"
    fish --no-execute "/usr/share/fish/vendor_completions.d/$program.fish"
done
# What is offered for: netspy dropsu, and netspy-server --keep-f
[ "$(bash -c '. /usr/share/bash-completion/completions/netspy
    COMP_WORDS=(netspy dropsu) COMP_CWORD=1
    _netspy netspy dropsu netspy; echo "${COMPREPLY[*]}"')" = dropsummary ]
[ "$(fish --command 'complete --do-complete "netspy dropsu"' | cut -f 1)" = dropsummary ]
[ "$(fish --command 'complete --do-complete "netspy-server --keep-f"' | cut -f 1)" = --keep-for ]
zsh -c 'autoload -U compinit && compinit -u && [ "$_comps[netspy]" = _netspy ] && [ "$_comps[netspy-server]" = _netspy-server ]'
proved "bash, zsh and fish take the completions, and complete"
