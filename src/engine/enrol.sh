set -eu
umask 077
say() { echo "$*" >&2; }
place=/etc/roundsman
# Several nodes may enrol it at the same moment, each with a program and a key of its own.
exec 9> /run/roundsman-enrol.lock
if ! flock -w 300 9; then
    say "someone else has been enrolling $NODE for minutes; try again"
    exit 1
fi
mkdir -p "$place" "${PROGRAM%/*}"
chmod 755 "$place" "${PROGRAM%/*}"
head -c "$BYTES" > "$place/fleet.toml.new"
cat > "$PROGRAM.new"
chmod 755 "$PROGRAM.new"
if ! "$PROGRAM.new" --version > /dev/null; then
    rm -f "$PROGRAM.new" "$place/fleet.toml.new"
    say "our program does not run on $NODE: it is of another architecture, or of another release of the system"
    exit 1
fi
home=$(getent passwd "$LOGIN" | cut -d: -f6)
if [ -z "$home" ]; then
    rm -f "$PROGRAM.new" "$place/fleet.toml.new"
    say "there is no user $LOGIN on $NODE"
    exit 1
fi
mv -f "$PROGRAM.new" "$PROGRAM"
chmod 644 "$place/fleet.toml.new"
mv -f "$place/fleet.toml.new" "$place/fleet.toml"
runs="$PROGRAM remote --node $NODE"
if [ "$LOGIN" != root ]; then
    if ! command -v sudo > /dev/null; then
        say "$NODE has no sudo, which $LOGIN needs; install it, or say user = \"root\" in fleet.toml"
        exit 1
    fi
    echo "$LOGIN ALL=(root) NOPASSWD: $runs" > /etc/sudoers.d/roundsman-remote
    chmod 440 /etc/sudoers.d/roundsman-remote
    runs="sudo -n $runs"
fi
keys=$home/.ssh/authorized_keys
[ -d "$home/.ssh" ] || install -d -m 700 -o "$LOGIN" "$home/.ssh"
[ -e "$keys" ] || install -m 600 -o "$LOGIN" /dev/null "$keys"
# The key of this node alone is replaced.
{ grep -v " roundsman@$DRIVER\$" "$keys" || true; echo "restrict,command=\"$runs\" $KEY"; } > "$keys.new"
cat "$keys.new" > "$keys"
rm -f "$keys.new"
cat /etc/ssh/ssh_host_*_key.pub
