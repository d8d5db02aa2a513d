#!/bin/sh
# Makes the secrets that compose.yaml mounts, in secrets/ beside this script: random, once. One that is
# there is kept. Nobody but you can look into the folder; within it the files are readable, as
# containers read them under users of their own.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
chmod 700 secrets
for name in authority-passphrase database-password grafana-password; do
    if [ -s "secrets/$name" ]; then
        echo "secrets/$name is there already"
        continue
    fi
    # 32 random bytes: 43 letters and digits.
    head -c 32 /dev/urandom | base64 | tr -d '\n=' | tr '+/' 'AB' > "secrets/.$name"
    chmod 444 "secrets/.$name"
    mv "secrets/.$name" "secrets/$name"
    echo "secrets/$name made"
done
