use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::UnixDatagram,
    },
    path::Path,
    time::Duration,
};

use super::*;
use crate::{
    base::TimeSpan,
    sys::{SocketOption, socket_option},
    unit::spec::{BindIpv6Only, Timestamping},
};

fn inet(kind: SocketKind, address: &str) -> SocketSpec {
    let address = Address::Inet(address.parse().expect("an address"));
    SocketSpec::new(Listen::Socket(kind, address), "http")
}

fn tcp(address: &str) -> SocketSpec {
    inet(SocketKind::Stream, address)
}

fn unix(kind: SocketKind, path: &Path) -> SocketSpec {
    let mut spec = SocketSpec::new(Listen::Socket(kind, Address::Unix(path.into())), "s");
    spec.options.mode = 0o600;
    spec
}

fn fifo(path: &Path) -> SocketSpec {
    SocketSpec::new(Listen::Fifo(path.into()), "f")
}

/// Opens it, and nothing is refused.
fn open_whole(spec: &SocketSpec) -> OwnedFd {
    let opened = open(spec, Owner::default()).expect("it listens");
    assert_eq!(opened.complaints, Vec::<String>::new());
    opened.fd
}

fn fault(spec: &SocketSpec) -> io::ErrorKind {
    open(spec, Owner::default()).expect_err("refused").source.kind()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("there").permissions().mode() & 0o7777
}

#[test]
fn a_socket_accepts_before_anyone_calls_accept() {
    let listener = TcpListener::from(open_whole(&tcp("127.0.0.1:0")));
    TcpStream::connect(listener.local_addr().expect("an address")).expect("the queue takes it");
}

#[test]
fn a_taken_port_is_named() {
    let first = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = first.local_addr().expect("an address").to_string();
    let error = open(&tcp(&address), Owner::default()).expect_err("taken");
    assert_eq!(error.to_string(), format!("cannot listen on {address}"));
    assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn each_kind_is_what_it_says() {
    let dir = tempfile::tempdir().expect("a directory");
    let abstract_name = format!("roundsman-test-{}", std::process::id());
    let mut specs = vec![tcp("127.0.0.1:0"), tcp("[::1]:0"), inet(SocketKind::Datagram, "127.0.0.1:0")];
    for (at, kind) in [SocketKind::Stream, SocketKind::Datagram, SocketKind::SequentialPacket].into_iter().enumerate() {
        specs.push(unix(kind, &dir.path().join(format!("deep/er/{at}"))));
        let name = Address::Abstract(format!("{abstract_name}-{at}").into());
        specs.push(SocketSpec::new(Listen::Socket(kind, name), "s"));
    }
    for spec in &specs {
        let fd = open_whole(spec);
        assert!(is_bound_to(&fd, &spec.listen), "{spec:?}");
        let other = specs.iter().filter(|other| other.listen != spec.listen);
        assert_eq!(other.filter(|other| is_bound_to(&fd, &other.listen)).count(), 0, "{spec:?}");
    }
    assert_eq!(mode(&dir.path().join("deep")), 0o755);
}

#[test]
fn a_dead_socket_file_is_replaced_and_a_living_one_is_not() {
    for kind in [SocketKind::Stream, SocketKind::Datagram, SocketKind::SequentialPacket] {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("s");
        let spec = unix(kind, &path);
        let first = open_whole(&spec);
        assert_eq!(fault(&spec), io::ErrorKind::AddrInUse, "{kind:?}: alive");
        drop(first);
        open_whole(&spec);
        assert_eq!(mode(&path), 0o600);
        fs::remove_file(&path).expect("there");
        fs::write(&path, "precious").expect("written");
        assert_eq!(fault(&spec), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).expect("there"), b"precious");
    }
}

#[test]
fn nobody_reaches_a_file_before_it_has_its_owner_and_mode() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    without_rights(&fd).expect("set");
    bind(fd.as_raw_fd(), &UnixAddr::new(&path).expect("short")).expect("bound");
    assert_eq!(mode(&path), 0, "as the kernel makes it");
}

#[test]
fn files_have_the_owner_and_mode_that_their_unit_says() {
    let dir = tempfile::tempdir().expect("a directory");
    let is_root = nix::unistd::geteuid().is_root();
    let own = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let (uid, gid) = if is_root { (4242, 4343) } else { own };
    let owner = Owner { uid: Some(uid), gid: Some(gid) };
    for (name, spec) in [
        ("s", unix(SocketKind::Stream, &dir.path().join("s"))),
        ("d", unix(SocketKind::Datagram, &dir.path().join("d"))),
        ("f", fifo(&dir.path().join("f"))),
    ] {
        let mut spec = spec;
        spec.options.mode = 0o627;
        let fd = open(&spec, owner).expect("it listens").fd;
        let meta = fs::symlink_metadata(dir.path().join(name)).expect("there");
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (uid, gid, 0o627), "{name}");
        let mut newer = spec.clone();
        newer.options.mode = 0o640;
        assert_eq!(configure(&fd, &spec, &newer, Owner::default()), Vec::<String>::new());
        assert_eq!(mode(&dir.path().join(name)), 0o640, "{name}");
    }
}

#[test]
fn a_fifo_never_ends_and_an_old_one_serves() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("f");
    for round in 0..2 {
        let mut reader = fs::File::from(open_whole(&fifo(&path)));
        for word in [b"one", b"two"] {
            fs::File::options().write(true).open(&path).expect("a reader is there").write_all(word).expect("written");
            let mut read = [0; 3];
            reader.read_exact(&mut read).expect("no end, though its writer is gone");
            assert_eq!(&read, word, "{round}");
        }
    }
    fs::remove_file(&path).expect("there");
    std::os::unix::fs::symlink("/dev/null", &path).expect("linked");
    assert!(open(&fifo(&path), Owner::default()).is_err(), "no link is followed");
}

#[test]
fn options_are_set_and_taken_back() {
    let mut spec = tcp("127.0.0.1:0");
    let plain = spec.clone();
    let secs = |secs| Some(TimeSpan::from_secs(secs));
    {
        let options = &mut *spec.options;
        (options.keep_alive, options.no_delay, options.free_bind, options.reuse_port) = (true, true, true, true);
        (options.keep_alive_time, options.keep_alive_interval) = (secs(61), secs(62));
        options.keep_alive_probes = Some(7);
        options.defer_accept = Some(TimeSpan::from_millis(2500));
        (options.receive_buffer, options.send_buffer) = (Some(65_536), Some(70_000));
        (options.ip_tos, options.ip_ttl, options.priority) = (Some(0x10), Some(9), Some(3));
        options.tcp_congestion = Some("reno".into());
    }
    let fd = open_whole(&spec);
    let read = |option| socket_option(&fd, option).expect("known");
    for (option, value) in [
        (SocketOption::KeepAlive, 1),
        (SocketOption::TcpNoDelay, 1),
        (SocketOption::IpFreebind, 1),
        (SocketOption::ReusePort, 1),
        (SocketOption::TcpKeepIdle, 61),
        (SocketOption::TcpKeepInterval, 62),
        (SocketOption::TcpKeepCount, 7),
        (SocketOption::TcpDeferAccept, 3),
        // The kernel doubles sizes for its own needs.
        (SocketOption::ReceiveBuffer, 131_072),
        (SocketOption::SendBuffer, 140_000),
        (SocketOption::IpTos, 0x10),
        (SocketOption::IpTtl, 9),
        (SocketOption::Priority, 3),
    ] {
        assert_eq!(read(option), value, "{option:?}");
    }
    let congestion = getsockopt(&fd, sockopt::TcpCongestion).expect("known");
    assert_eq!(congestion.to_string_lossy().trim_end_matches('\0'), "reno");
    assert_eq!(configure(&fd, &spec, &plain, Owner::default()), Vec::<String>::new());
    assert_eq!((read(SocketOption::KeepAlive), read(SocketOption::TcpNoDelay)), (0, 0));

    let mut datagrams = inet(SocketKind::Datagram, "127.0.0.1:0");
    (datagrams.options.broadcast, datagrams.options.pass_packet_info) = (true, true);
    datagrams.options.timestamping = Timestamping::Ns;
    let fd = open_whole(&datagrams);
    for option in [SocketOption::Broadcast, SocketOption::IpPacketInfo, SocketOption::TimestampNs] {
        assert_eq!(socket_option(&fd, option).expect("known"), 1, "{option:?}");
    }

    let dir = tempfile::tempdir().expect("a directory");
    let mut datagrams = unix(SocketKind::Datagram, &dir.path().join("d"));
    datagrams.options.pass_credentials = true;
    let fd = open_whole(&datagrams);
    assert_eq!(socket_option(&fd, SocketOption::PassCredentials).expect("known"), 1);
    let mut pipe = fifo(&dir.path().join("f"));
    pipe.options.pipe_size = Some(8192);
    assert_eq!(fcntl(open_whole(&pipe), FcntlArg::F_GETPIPE_SZ).expect("a pipe"), 8192);
}

#[test]
fn what_the_host_refuses_is_told_and_what_restricts_is_an_error() {
    let mut spec = tcp("127.0.0.1:0");
    spec.options.tcp_congestion = Some("no-such-way".into());
    let complaints = open(&spec, Owner::default()).expect("it listens").complaints;
    assert_eq!(complaints.len(), 1);
    assert!(complaints[0].starts_with("tcp_congestion: "), "{complaints:?}");
    let mut spec = tcp("127.0.0.1:0");
    spec.options.bind_to_device = Some("no-such-dev".into());
    assert!(open(&spec, Owner::default()).is_err());
}

#[test]
fn an_ipv6_socket_takes_ipv4_as_its_unit_says() {
    for (only, takes) in [(BindIpv6Only::Both, true), (BindIpv6Only::Ipv6Only, false)] {
        let mut spec = tcp("[::]:0");
        spec.options.bind_ipv6_only = only;
        let listener = TcpListener::from(open_whole(&spec));
        let port = listener.local_addr().expect("an address").port();
        assert_eq!(TcpStream::connect(("127.0.0.1", port)).is_ok(), takes, "{only:?}");
        TcpStream::connect(("::1", port)).expect("IPv6 always");
    }
}

#[test]
fn other_names_lead_to_the_file_and_go_with_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    let mut spec = unix(SocketKind::Stream, &at("s"));
    let links = [at("a/link"), at("old"), at("precious")];
    spec.options.symlinks = links.iter().map(|link| link.clone().into()).collect();
    std::os::unix::fs::symlink("/nowhere", at("old")).expect("linked");
    fs::write(at("precious"), "x").expect("written");
    let opened = open(&spec, Owner::default()).expect("it listens");
    assert_eq!(opened.complaints.len(), 1, "{:?}", opened.complaints);
    assert!(opened.complaints[0].contains("precious"));
    assert!(links[..2].iter().all(|link| fs::read_link(link).is_ok_and(|to| to == at("s"))));
    let mut newer = spec.clone();
    newer.options.symlinks = [at("old").into()].into();
    configure(&opened.fd, &spec, &newer, Owner::default());
    assert!(!at("a/link").exists() && at("old").exists());
    release(&opened.fd, &newer);
    assert!(fs::symlink_metadata(at("old")).is_err() && fs::symlink_metadata(at("s")).is_err());
    assert!(at("precious").exists());
}

#[test]
fn a_released_address_is_free_whoever_else_has_the_socket() {
    let mut spec = tcp("127.0.0.1:0");
    let fd = open_whole(&spec);
    let elsewhere = fd.try_clone().expect("a descriptor");
    let address = TcpListener::from(fd.try_clone().expect("a descriptor")).local_addr().expect("an address");
    spec.listen = Listen::Socket(SocketKind::Stream, Address::Inet(address));
    assert_eq!(fault(&spec), io::ErrorKind::AddrInUse);
    release(&fd, &spec);
    assert!(TcpStream::connect(address).is_err());
    open_whole(&spec);
    TcpStream::connect(address).expect_err("that one is gone again");
    drop(elsewhere);
}

#[test]
fn what_waits_is_thrown_away_and_the_socket_blocks_afterwards() {
    let spec = tcp("127.0.0.1:0");
    let fd = open_whole(&spec);
    let listener = TcpListener::from(fd.try_clone().expect("a descriptor"));
    let address = listener.local_addr().expect("an address");
    let mut clients: Vec<TcpStream> = (0..5).map(|_| TcpStream::connect(address).expect("queued")).collect();
    flush(&fd, &spec.listen).expect("flushed");
    for client in &mut clients {
        client.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
        assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)), "the other end is gone");
    }
    assert!(!OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL).expect("open")).contains(OFlag::O_NONBLOCK));
    listener.set_nonblocking(true).expect("set");
    assert_eq!(listener.accept().expect_err("nobody").kind(), io::ErrorKind::WouldBlock);

    let spec = inet(SocketKind::Datagram, "127.0.0.1:0");
    let fd = open_whole(&spec);
    let socket = UdpSocket::from(fd.try_clone().expect("a descriptor"));
    let address = socket.local_addr().expect("an address");
    let sender = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    (0..5).for_each(|_| assert_eq!(sender.send_to(b"x", address).expect("sent"), 1));
    flush(&fd, &spec.listen).expect("flushed");
    socket.set_nonblocking(true).expect("set");
    assert_eq!(socket.recv(&mut [0]).expect_err("nothing").kind(), io::ErrorKind::WouldBlock);

    let dir = tempfile::tempdir().expect("a directory");
    let (packets, datagrams) = (dir.path().join("p"), dir.path().join("d"));
    let spec = unix(SocketKind::SequentialPacket, &packets);
    flush(&open_whole(&spec), &spec.listen).expect("nothing waits");
    let spec = unix(SocketKind::Datagram, &datagrams);
    let fd = open_whole(&spec);
    UnixDatagram::unbound().expect("a socket").send_to(b"x", &datagrams).expect("sent");
    flush(&fd, &spec.listen).expect("flushed");
}
