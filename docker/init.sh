#!/bin/sh
# What has to be there before the rest of compose.yaml can run: the database's tables, the authorities,
# the broker's files, a certificate for the cloud and one for the agent. What is there is kept, unless
# it has expired or soon will. Runs in the image edgeqa/cloud, at every `up`.
#
#   EDGEQA_INIT_BROKER_HOST  name or address at which devices reach the broker
#   EDGEQA_INIT_DEVICE       name of the agent
#   EDGEQA_INIT_GROUPS       its groups, separated by commas
#
# and the settings EDGEQA_CLOUD_… of `edgeqa cloud enrol`.
set -eu
umask 077

host=${EDGEQA_INIT_BROKER_HOST:-localhost}
device=${EDGEQA_INIT_DEVICE:-agent-1}
groups=${EDGEQA_INIT_GROUPS:-}
# Folders of the volumes that cloud and agent have at /etc/edgeqa.
identities=${EDGEQA_INIT_IDENTITIES:-/identities}

say() {
    echo "init: $*"
}

# The service `prepare` may be at work still.
wait_for_volumes() {
    tries=60
    for folder in "$@"; do
        until [ -w "$folder" ]; do
            tries=$((tries - 1))
            if [ "$tries" -eq 0 ]; then
                say "$folder cannot be written by $(id -u); see the log of the service prepare" >&2
                exit 3
            fi
            sleep 1
        done
    done
}

# A database beside us may be starting; 4: it cannot be reached.
wait_for_database() {
    tries=30
    until edgeqa cloud migrate; do
        code=$?
        tries=$((tries - 1))
        if [ "$code" -ne 4 ] || [ "$tries" -eq 0 ]; then
            exit "$code"
        fi
        sleep 2
    done
}

# Whether the newest certificate of ROLE NAME has expired or soon will.
expires() {
    edgeqa cloud enrolled --role "$1" --json | grep -F "\"name\": \"$2\"" |
        grep -qE '"state": "(expiring|expired)"'
}

# enrol NAME FOLDER FLAG…: the bundle's files, each put in place whole; the settings come last, as
# cloud and agent wait for them (wait-for.sh).
enrol() {
    name=$1 folder=$2
    shift 2
    work=$(mktemp -d)
    edgeqa cloud enrol "$name" --again --broker-host broker --output "$work" "$@" >/dev/null
    for file in "$work/$name"/*.crt "$work/$name"/*.key "$work/$name"/*.json \
        "$work/$name"/*.env "$work/$name"/*.toml; do
        [ -f "$file" ] || continue
        cp "$file" "$folder/.new"
        mv "$folder/.new" "$folder/${file##*/}"
    done
    rm -r "$work"
    say "$name has a new certificate"
}

cloud() {
    folder=$identities/cloud
    if [ -f "$folder/service.env" ] && ! expires service cloud; then
        say "cloud has its certificate"
        return
    fi
    enrol cloud "$folder" --service
}

agent() {
    folder=$identities/agent
    if grep -qsxF "device = \"$device\"" "$folder/agent.toml" && ! expires device "$device"; then
        say "$device has its certificate"
        return
    fi
    set --
    for group in $(echo "$groups" | tr ',' ' '); do
        set -- "$@" --group "$group"
    done
    enrol "$device" "$folder" "$@"
}

wait_for_volumes "$EDGEQA_CLOUD_AUTHORITY" "$EDGEQA_CLOUD_BROKER_FILES" "$identities"/*
chmod 700 "$EDGEQA_CLOUD_AUTHORITY" "$EDGEQA_CLOUD_BROKER_FILES" "$identities"/*
wait_for_database
if [ -f "$EDGEQA_CLOUD_AUTHORITY/authority.json" ]; then
    command=refresh
else
    command=init
fi
# `broker` is its name among the containers.
edgeqa cloud authority "$command" --broker-host "$host" --broker-host broker --broker-host localhost
cloud
agent
