#!/bin/sh
# wait-for.sh FILE COMMAND…: becomes COMMAND as soon as FILE is there.
#
# Containers of compose.yaml wait themselves for what `init` makes, in whatever order they are started:
# podman-compose cannot wait for another container's end (`service_completed_successfully`), as podman
# wants dependencies to be running.
set -eu

file=$1
shift
trap 'exit 0' TERM INT
if [ ! -r "$file" ]; then
    echo "waits for $file, which the service init makes; see its log" >&2
fi
until [ -r "$file" ]; do
    sleep 1 &
    wait $! || true
done
exec "$@"
