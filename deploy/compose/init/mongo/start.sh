#!/bin/bash
# Starts mongod as a one-member replica set with authentication, and prepares it in the background.
set -euo pipefail
here=/run/headrace/mongo
# mongod refuses a key file that others may read, and the volume's belongs to the container that made it.
install -m 400 "$here/keyfile" /tmp/keyfile
(
    until mongosh --quiet --norc --file "$here/setup.js"; do sleep 1; done
) &
exec docker-entrypoint.sh mongod --replSet rs0 --keyFile /tmp/keyfile --bind_ip_all --wiredTigerCacheSizeGB 0.25 --quiet
