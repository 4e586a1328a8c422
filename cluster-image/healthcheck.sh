#!/bin/bash
# Healthy: PostgreSQL answers, this node is in repmgr's table, and repmgrd runs.
set -Eeuo pipefail

# Local connections are open to the operating system's user postgres only.
if [[ $EUID == 0 ]]; then
    exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$0" "$@"
fi

if [[ -e ${PGDATA%/*}/unfinished ]]; then
    echo 'starting: the data directory is being made'
    exit 1
fi
node_id=$(sed -n 's/^node_id=\([0-9]\+\)$/\1/p' /etc/repmgr.conf 2>/dev/null) || true
if [[ -z $node_id ]]; then
    echo 'starting: this node has no id yet'
    exit 1
fi

answer=$(PGCONNECT_TIMEOUT=3 psql -XAtq -h /var/run/postgresql -U postgres -d repmgr -c "
    SELECT CASE WHEN NOT EXISTS (SELECT FROM repmgr.nodes WHERE node_id = $node_id)
                     THEN 'this node ($node_id) is not registered in repmgr.nodes'
                WHEN NOT coalesce(repmgr.repmgrd_is_running(), false) THEN 'repmgrd does not run'
                ELSE 'ok' END" 2>&1) || true
echo "$answer"
[[ $answer == ok ]]
