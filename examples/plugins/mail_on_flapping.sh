#!/bin/sh
# Mails when a watcher flaps or is given up: sh mail_on_flapping.sh ADDRESS [SENDMAIL]
#
# It ends with its connection; whoever supervises it, best circusd itself, starts it again. What
# happens in between is not mailed; plugin.sh shows how to hear that, too. setpriv (of util-linux) has
# circusctl end with us.
set -eu

address=${1:?usage: mail_on_flapping.sh ADDRESS [SENDMAIL]}
sendmail=${2:-/usr/sbin/sendmail}

setpriv --pdeathsig TERM circusctl --json listen '*.flapping' '*.gave_up' | while read -r line; do
    case $line in *'"watcher":"'*) ;; *) continue ;; esac
    watcher=${line#*'"watcher":"'}
    watcher=${watcher%%'"'*}
    {
        printf 'To: %s\nSubject: %s keeps ending\n\n' "$address" "$watcher"
        circusctl why "$watcher" 2>&1 || : # it may be gone by now
    } | "$sendmail" -t || echo "no mail about $watcher was sent" >&2
done
echo "the connection to circusd has ended" >&2
exit 1
