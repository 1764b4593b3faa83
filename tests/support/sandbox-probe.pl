# Tries what sandboxes forbid, and prints what came of it: one line for each thing, the same under any supervisor.
#
#   perl sandbox-probe.pl WHAT...
#
# WHAT is `list PATH`, `write PATH`, `read PATH`, `mount PATH`, `call NAME`, `status FIELD`, or one of the words at the end.
use strict;
use warnings;
use Errno;
use POSIX ();

my $arm = (POSIX::uname())[4] eq 'aarch64' ? 1 : 0;
# Names of attempts, numbers of calls on x86_64 and aarch64, arguments; none does harm where it is let through.
my %calls = (
    mmap_write_exec  => [9, 222, 0, 4096, 7, 0x22, -1, 0],
    mmap_write       => [9, 222, 0, 4096, 3, 0x22, -1, 0],
    mprotect_exec    => [10, 226, 0, 0, 5],
    personality      => [135, 92, 8],
    unshare_mount    => [272, 97, 0x20000],
    unshare_user     => [272, 97, 0x10000000],
    unshare_nothing  => [272, 97, 0],
    setns            => [308, 268, -1, 0x20000],
    clone3           => [435, 435, 0, 0],
    realtime         => [144, 119, 0, 1, pack('i', 1)],
    batch            => [144, 119, 0, 3, pack('i', 0)],
    sethostname      => [170, 161, (POSIX::uname())[1], length((POSIX::uname())[1])],
    syslog           => [103, 116, 10, 0, 0],
    clock_settime    => [227, 112, 0, 0],
    delete_module    => [176, 106, 'no-such-module', 0],
    iopl             => [172, -1, 0],
    mount            => [165, 40, 0, '/nonexistent', 0, 0, 0],
    reboot           => [169, 142, 0, 0, 0, 0],
    uname            => [63, 160, ' ' x 1024],
    getpriority      => [140, 141, 0, 0],
    socket_unix      => [41, 198, 1, 1, 0],
    socket_inet      => [41, 198, 2, 1, 0],
    socket_inet6     => [41, 198, 10, 1, 0],
    socket_netlink   => [41, 198, 16, 3, 0],
    socket_packet    => [41, 198, 17, 3, 0],
);

sub said { my ($what, $ok) = @_; print "$what: ", ($ok ? 'ok' : error()), "\n" }
sub error { my $error = $!; for my $name (sort keys %!) { return $name if $!{$name} } return "$error" }

sub attempt {
    my ($name) = @_;
    my ($number, $on_arm, @arguments) = @{ $calls{$name} or die "no attempt $name" };
    my $page;
    if ($name eq 'mprotect_exec') {
        $page = syscall($arm ? 222 : 9, 0, 4096, 3, 0x22, -1, 0);
        @arguments = ($page, 4096, 5);
    }
    $! = 0;
    said("call $name", syscall($arm ? $on_arm : $number, @arguments) != -1);
}

sub list {
    my ($path) = @_;
    opendir(my $folder, $path) or return said("list $path", 0);
    my @names = grep { !/^\.\.?$/ } readdir $folder;
    print "list $path: ", (@names ? 'something' : 'nothing'), "\n";
}

sub write_into {
    my ($path) = @_;
    my $file = -d $path ? "$path/.sandbox-probe-$$" : $path;
    my $done = open(my $handle, '>>', $file);
    said("write $path", $done);
    unlink $file if $done && -d $path;
}

sub read_from {
    my ($path) = @_;
    my ($handle, $byte);
    open($handle, '<', $path) or return said("read $path", 0);
    my $count = sysread($handle, $byte, 1);
    return said("read $path", 0) unless defined $count;
    print "read $path: ", ($count ? 'something' : 'nothing'), "\n";
}

# The attributes of the mount on which a path lies: the last one of the deepest.
sub mount_of {
    my ($path) = @_;
    my ($best, $said) = (-1, 'none');
    open(my $info, '<', '/proc/self/mountinfo') or return said("mount $path", 0);
    while (<$info>) {
        my (undef, undef, undef, undef, $point, $options) = split / /;
        my $above = $point eq '/' ? '/' : "$point/";
        next unless index("$path/", $above) == 0 && length $point >= $best;
        $best = length $point;
        # What the kernel shows of itself is never executed.
        my $wanted = $path =~ m!^/(proc|sys)! ? qr/^(ro|rw)$/ : qr/^(ro|rw|noexec)$/;
        $said = join ',', grep { $_ =~ $wanted } split /,/, $options;
    }
    print "mount $path: $said\n";
}

sub status {
    my ($field) = @_;
    open(my $status, '<', '/proc/self/status') or die;
    while (<$status>) { print "status $field: $1\n" if /^$field:\s*(.*)/ }
}

my %words = (
    # A device of our own.
    mknod    => sub { my $path = "/dev/shm/.probe-$$"; said('mknod', syscall($arm ? 33 : 259, -100, $path, 020666, 0x103) != -1); unlink $path },
    suid     => sub { my $path = "/dev/shm/.probe-$$"; open(my $f, '>', $path) or return said('suid', 0); said('suid', chmod(04755, $path)); unlink $path },
    suid_new => sub { my $path = "/dev/shm/.probe-$$"; $! = 0; said('suid_new', syscall($arm ? 56 : 257, -100, $path, 0101, 04644) != -1); unlink $path },
    # Executing a copy of a program.
    tmp_exec => sub { my $path = "/tmp/.probe-$$"; system("cp /bin/true $path 2>/dev/null"); $! = 0; no warnings "exec"; my $r = system($path); said('tmp_exec', $r == 0); unlink $path },
    devices  => sub { opendir(my $d, '/dev') or return said('devices', 0); print 'devices: ', join(' ', sort grep { !/^\./ } readdir $d), "\n" },
    # Whether the first process of all is to be seen.
    processes => sub { print 'processes: ', (-e '/proc/1' ? 'others' : 'own only'), "\n" },
    interfaces => sub { open(my $n, '<', '/proc/net/dev') or return said('interfaces', 0); my @n = sort map { /^\s*(\S+):/ ? $1 : () } <$n>; print 'interfaces: ', ("@n" eq 'lo' ? 'lo' : 'others'), "\n" },
    hostname => sub { print 'hostname: ', (POSIX::uname())[1], "\n" },
    same_uts => sub { print 'uts: ', readlink('/proc/self/ns/uts'), "\n" },
    queues   => sub { print 'queues: ', readlink('/proc/self/ns/ipc'), "\n" },
);
my %with_word = (list => \&list, write => \&write_into, read => \&read_from, mount => \&mount_of, call => \&attempt, status => \&status);

$| = 1;
while (defined(my $word = shift @ARGV)) {
    if ($with_word{$word}) { $with_word{$word}->(shift @ARGV) }
    else { ($words{$word} or die "no word $word")->() }
}
print "end\n";
