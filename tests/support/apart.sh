#!/usr/bin/env bash
# A program as the first process of namespaces of its own: of pids, of mounts, and of networks, with nobody in them. Needs root.
#
#   apart.sh PROGRAM...
#
# It ends when standard input does, and with it all that it has started, wherever that is. Its cgroup (of version 2) is its own
# as well, and gone afterwards.
set -euo pipefail

if [ "$1" = within ]; then
    shift
    echo 0 > "$CGROUP/cgroup.procs"
    # Where names of networks stand, and sockets.
    mount -t tmpfs -o mode=755 tmpfs /run
    ip link set lo up
    exec "$@"
fi

hierarchy=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
own=$(sed -n 's/^0:://p' /proc/self/cgroup)
export CGROUP=$hierarchy${own%/}/apart-$$
mkdir "$CGROUP"

end() {
    # --kill-child: the first process ends with it, and everything inside with that.
    kill -KILL "$leader" 2> /dev/null || true
    for ((try = 0; try < 100; try++)); do
        [ -d "$CGROUP" ] || break
        find "$CGROUP" -depth -type d -exec rmdir {} + 2> /dev/null || sleep 0.1
    done
}
trap end EXIT
trap 'exit 1' TERM INT

exec 3<&0
setpriv --pdeathsig KILL unshare --pid --mount --net --fork --kill-child --mount-proc -- \
    bash "$0" within "$@" < /dev/null 3<&- &
leader=$!
# Until the caller is gone.
cat <&3 > /dev/null &
wait -n "$leader" $!
