#!/bin/sh
# Runs Mosquitto on the folder that `edgeqa cloud authority` writes, and makes it follow that folder:
#
#   certificates, revocations, access rules, passwords   SIGHUP: read anew, connections stay
#   mosquitto.conf                                       restart: listeners are made at a start only
#
# That SIGHUP is enough was tried with Mosquitto 2.0.11 (tests/docker/test_broker_entrypoint.py).
# Needs a POSIX shell, cksum, sed, grep and sleep: Debian's and the official image have them.
#
#   EDGEQA_BROKER_FILES    the folder                                        /etc/edgeqa-broker
#   EDGEQA_BROKER_WATCH_S  how often it is looked at, seconds                2
#
# `entrypoint.sh health` ends with 0 if every listener of mosquitto.conf listens, else with 1.
set -eu

files=${EDGEQA_BROKER_FILES:-/etc/edgeqa-broker}
watch_s=${EDGEQA_BROKER_WATCH_S:-2}
conf=$files/mosquitto.conf
broker=

say() {
    echo "broker: $*" >&2
}

# One line that changes when a file does. What is being written is not there yet, or has another
# name: the cloud renames whole files into place.
sum_of() {
    cat "$@" 2>/dev/null | cksum
}

sums() {
    sum_of "$files"/*.crt "$files"/*.key "$files"/*.crl "$files"/*.acl "$files"/*.passwords
}

# The first file that mosquitto.conf names and that is not whole. Rules that Mosquitto cannot read
# when it is told to, or that are empty, are no rules for it: it then allows everything.
not_whole() {
    sed -n 's/^\(acl_file\|password_file\|cafile\|certfile\|keyfile\|crlfile\)  *//p' "$conf" |
        while read -r file; do
            case $file in
                *.acl) grep -qE '^(topic|pattern) ' "$file" 2>/dev/null || echo "$file" ;;
                *) [ -r "$file" ] || echo "$file" ;;
            esac
        done | head -n 1
}

# In the background, so that a signal is acted on at once.
pause() {
    sleep "$watch_s" &
    wait $! || true
}

start() {
    mosquitto -c "$conf" &
    broker=$!
}

end() {
    trap '' TERM INT
    if [ -n "$broker" ]; then
        kill -TERM "$broker" 2>/dev/null || true
        wait "$broker" || true
    fi
    exit 0
}

listens() {
    # Local address, any remote one, state 0A (listening): proc(5).
    grep -qE "$(printf ':%04X 0+:0000 0A ' "$1")" /proc/net/tcp /proc/net/tcp6 2>/dev/null
}

health() {
    ports=$(sed -n 's/^listener  *\([0-9][0-9]*\).*/\1/p' "$conf") || ports=
    [ -n "$ports" ] || { echo "no listener in $conf"; exit 1; }
    for port in $ports; do
        listens "$port" || { echo "nothing listens on port $port"; exit 1; }
    done
    echo "listens on $(echo "$ports" | tr "\n" " ")"
}

run() {
    trap end TERM INT
    if [ ! -r "$conf" ]; then
        say "waits for $conf: \`edgeqa cloud authority init\` writes it"
    fi
    until [ -r "$conf" ]; do
        pause
    done
    seen=$(sums)
    seen_conf=$(sum_of "$conf")
    told=
    start
    while :; do
        pause
        if ! kill -0 "$broker" 2>/dev/null; then
            code=0
            wait "$broker" || code=$?
            say "mosquitto ended with $code"
            exit "$code"
        fi
        now=$(sums)
        now_conf=$(sum_of "$conf")
        if [ "$now$now_conf" = "$seen$seen_conf" ]; then
            continue
        fi
        # Several files change together: wait until they have.
        sleep 1
        if [ "$(sums)$(sum_of "$conf")" != "$now$now_conf" ]; then
            continue
        fi
        missing=$(not_whole)
        if [ -n "$missing" ]; then
            [ "$missing" = "$told" ] || say "$missing cannot be read, or is empty: nothing is told"
            told=$missing
            continue
        fi
        told=
        if [ "$now_conf" != "$seen_conf" ]; then
            say "mosquitto.conf has changed: restart"
            kill -TERM "$broker"
            wait "$broker" || true
            start
        else
            say "files have changed: SIGHUP"
            kill -HUP "$broker"
        fi
        seen=$now
        seen_conf=$now_conf
    done
}

case ${1:-run} in
    health) health ;;
    run) run ;;
    *) say "knows \`run\` and \`health\`, not \`$1\`"; exit 2 ;;
esac
