#!/bin/sh
# A plugin of circusd in plain shell: sh plugin.sh DIRECTORY
#
# It logs every event to DIRECTORY/events.jsonl, lets no watcher start while there is a file
# DIRECTORY/WATCHER.hold, and stops a watcher that flaps. Whether circusd or the plugin is restarted
# or killed, no event is lost and none is logged twice: each line has its cursor in it, and the last
# one says where to go on. circusctl carries the messages.
set -eu

directory=${1:?usage: plugin.sh DIRECTORY}
log=$directory/events.jsonl
fifo=$directory/.events

# Becomes a program that ends with us, even if we are killed: setpriv, of util-linux, has the kernel
# see to that; had it come too late, the program would have another parent.
become() {
    # shellcheck disable=SC2016 # it is the inner shell that knows its parent
    exec setpriv --pdeathsig TERM sh -c '[ "$PPID" = "$0" ] && exec "$@"' "$$" "$@"
}

# The first string of that name in a line of JSON; quotes within strings are escaped there.
string_of() {
    rest=${2#*"\"$1\":\""}
    printf '%s\n' "${rest%%\"*}"
}

wait_for_circusd() {
    pause=1
    until circusctl --timeout 5 version >/dev/null 2>&1; do
        sleep "$pause"
        [ "$pause" -ge 8 ] || pause=$((pause * 2))
    done
}

# An event of the past may be true no more, so look first. 3: circusd has refused, as that watcher
# is gone by now. Any other failure is one of the connection.
stop_if_flapping() {
    status=$(circusctl --json status "$1") || return
    case $status in
    *'"cause":"flapping"'*) circusctl stop --no-wait "$1" ;;
    esac
}

# Acts on a reply, then logs it: killed in between, we stop the watcher again, which changes nothing.
handle() {
    case $1 in
    '{"error":'*) return 0 ;; # circusctl has told it on standard error, too
    *'"action":"flapping"'*)
        stop_if_flapping "$(string_of watcher "$1")" || [ $? -eq 3 ] || return 1
        ;;
    *'"event":'* | *'"gap":'*) ;;
    # The first reply only confirms where we begin. That is news if we did not say it.
    *) [ -z "$cursor" ] || return 0 ;;
    esac
    printf '%s\n' "$1" >>"$log" || exit 1
    cursor=$(string_of cursor "$1")
}

# Everything that comes over one connection. A pipe of the shell would have us read in a process of
# its own, which would outlive us.
follow() {
    rm -f "$fifo"
    mkfifo "$fifo"
    become circusctl --json listen ${cursor:+--since "$cursor"} >"$fifo" &
    listener=$!
    while IFS= read -r line; do
        handle "$line" || break
    done <"$fifo"
    kill "$listener" 2>/dev/null || :
    wait "$listener" || :
}

answer_hooks() {
    while wait_for_circusd; do
        # shellcheck disable=SC2016 # it is the inner shell that knows the watcher
        (become circusctl answer before_start -- \
            sh -c 'test ! -e "$0/$CIRCUS_WATCHER.hold"' "$directory") || :
        sleep 1
    done
}

if [ "${2-}" = hooks ]; then
    answer_hooks
    exit
fi
become sh "$0" "$directory" hooks &
# Half a line: we were killed while we wrote, and hear it again.
if [ -n "$(tail -c 1 "$log" 2>/dev/null)" ]; then
    (become sed "\$d" "$log") >"$log.new"
    (become mv "$log.new" "$log")
fi
cursor=$(tail -n 1 "$log" 2>/dev/null || :)
[ -z "$cursor" ] || cursor=$(string_of cursor "$cursor")
while wait_for_circusd; do
    follow
    sleep 1
done
