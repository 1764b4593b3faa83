#!/usr/bin/env bash
# A machine with a real systemd as PID 1, made of namespaces over this machine's own files. Needs root.
#
#   systemd-ns.sh DIR SEED [PROGRAM...]
#
# DIR is an empty folder of the caller's; DIR/init then holds the pid of the inner PID 1, DIR/console what it says. SEED
# is copied over the inner root; each PROGRAM shows up in the inner /usr/bin. It lasts until standard input ends, and
# nothing outside is changed: files go to a tmpfs, processes end with their PID 1.
set -euo pipefail

# Run as the first process of its namespaces: enters a cgroup of its own, which becomes the inner root cgroup.
enter() {
    mount --make-rprivate /
    mkdir "$CGROUP"
    echo 0 > "$CGROUP/cgroup.procs"
    exec unshare --cgroup -- bash "$0" be_init "$@"
}

be_init() {
    local dir=$1 seed=$2 root=$1/root
    shift 2
    mount -t tmpfs -o mode=755 tmpfs "$dir"
    mkdir "$dir"/{upper,work,root}
    mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" "$root"
    mount -t proc proc "$root/proc"
    # systemd raises kernel settings at boot; they are not the namespaces' own.
    mount --bind "$root/proc/sys" "$root/proc/sys"
    mount -o remount,bind,ro "$root/proc/sys"
    mount -t sysfs -o ro sysfs "$root/sys"
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
    mount -t tmpfs -o mode=755 tmpfs "$root/run"
    mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
    mount -t tmpfs -o mode=755 tmpfs "$root/dev"
    mkdir "$root"/dev/{pts,shm,mqueue}
    for device in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0"; do
        # shellcheck disable=SC2086
        mknod -m 666 "$root/dev/${device%% *}" c ${device#* }
    done
    ln -s /proc/self/fd "$root/dev/fd"
    ln -s pts/ptmx "$root/dev/ptmx"
    for program; do
        # A symbolic link there would lead out of the new root.
        rm -f "$root/usr/bin/$(basename "$program")"
        : > "$root/usr/bin/$(basename "$program")"
        mount --bind "$program" "$root/usr/bin/$(basename "$program")"
    done
    cp -r "$seed" "$root/run/seed"
    ip link set lo up
    hostname machine
    cd "$root"
    pivot_root . .
    umount -l .
    cd /
    # From here on every path is the machine's own. Nothing is wanted at boot and nothing generated, so nothing of the
    # outer machine's services runs.
    rm -rf /etc/systemd/system /usr/lib/systemd/system/*.wants /lib/systemd/system/*.wants \
        /usr/lib/systemd/system-generators /lib/systemd/system-generators /etc/fstab /etc/machine-id
    echo 0123456789abcdef0123456789abcdef > /etc/machine-id
    cp -r /run/seed/. /
    # Not what belongs to the whole machine: its clock, its modules, its log.
    exec setpriv --bounding-set=-sys_time,-sys_module,-sys_rawio,-syslog \
        env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root container=test \
        /lib/systemd/systemd --unit=basic.target --log-target=console --show-status=no
}

case $1 in
enter | be_init)
    "$@"
    exit
    ;;
esac

dir=$1
hierarchy=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
own=$(sed -n 's/^0:://p' /proc/self/cgroup)
# Others with our pid may be in other namespaces.
export CGROUP=$hierarchy${own%/}/systemd-ns-$$-$(basename "$dir")

end() {
    # --kill-child: the inner PID 1 ends with it, and everything inside with that.
    kill -KILL "$leader" 2> /dev/null || true
    wait "$leader" 2> /dev/null || true
    for ((try = 0; try < 50; try++)); do
        [ -d "$CGROUP" ] || break
        find "$CGROUP" -depth -type d -exec rmdir {} + 2> /dev/null || sleep 0.1
    done
}
trap end EXIT
trap 'exit 1' TERM INT

mkdir "$dir/machine"
unshare --mount --pid --fork --kill-child --uts --ipc --net -- \
    bash "$0" enter "$dir/machine" "${@:2}" > "$dir/console" 2>&1 < /dev/null &
leader=$!
for ((try = 0; try < 100; try++)); do
    read -r init _ < "/proc/$leader/task/$leader/children" || sleep 0.05
    [ -z "${init:-}" ] || break
done
echo "$init" > "$dir/init.new"
mv "$dir/init.new" "$dir/init"
# Until the caller is gone.
while read -r _; do :; done
