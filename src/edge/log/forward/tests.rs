use std::{
    io::{Read, Write as _},
    net::{TcpListener, UdpSocket},
    os::unix::net::UnixDatagram,
};

use super::*;
use crate::{base::Wall, edge::log::files::log_path, unit::spec::LogSpec};

fn unit() -> UnitName {
    UnitName::new("web").expect("a name")
}

fn rules(forward: &Forward) -> Rules {
    Rules::of(&unit(), None, &LogSpec { forward: Some(vec![forward.clone()]), ..LogSpec::default() })
}

fn line(text: &str) -> Line {
    let place = Place { number: 1, offset: 0 };
    let at = Some(Wall(1_700_000_000_123_456));
    Line { bytes: text.into(), at, begin: place, end: place, ended: true }
}

fn append(dir: &Path, text: &str) {
    let path = log_path(dir, 1);
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .expect("written");
}

fn pause() {
    #[expect(clippy::disallowed_methods, reason = "a thread of its own forwards; there is nothing to await")]
    thread::sleep(Duration::from_millis(10));
}

/// What arrives until so many datagrams are there.
fn datagrams(socket: &UdpSocket, count: usize) -> Vec<String> {
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
    let mut buffer = [0; 65_536];
    let mut next = || {
        let length = socket.recv(&mut buffer).expect("a datagram");
        String::from_utf8(buffer[..length].to_vec()).expect("text")
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn a_line_reaches_journald_in_its_own_protocol() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("socket");
    let journald = UnixDatagram::bind(&path).expect("bound");
    let mut receiver = Receiver::Journal(journal::Journal::at(&path));
    let syslog = SyslogSpec { identifier: Some("front".into()), ..SyslogSpec::default() };
    receiver.send(&unit(), &syslog, &line("<3>it \u{1b}[31mfailed")).expect("sent");
    let mut buffer = [0; 4096];
    let length = journald.recv(&mut buffer).expect("a datagram");
    let mut expected =
        b"PRIORITY=3\nSYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER=front\nROUNDSMAN_UNIT=web\nMESSAGE\n".to_vec();
    expected.extend(14_u64.to_le_bytes());
    expected.extend(b"it \x1b[31mfailed\n");
    assert_eq!(buffer[..length], expected);
}

#[test]
fn a_line_reaches_the_local_syslog() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("log");
    let daemon = UnixDatagram::bind(&path).expect("bound");
    let mut receiver = Receiver::Syslog(syslog::Syslog::at(&path));
    let syslog = SyslogSpec { identifier: Some("web".into()), facility: 16, level: 5, level_prefix: false };
    receiver.send(&unit(), &syslog, &line("<3>kept")).expect("sent");
    let mut buffer = [0; 4096];
    let length = daemon.recv(&mut buffer).expect("a datagram");
    let text = std::str::from_utf8(&buffer[..length]).expect("text");
    assert!(text.starts_with("<133>Nov ") && text.ends_with(" web: <3>kept"), "{text}");
}

#[test]
fn a_server_gets_lines_in_the_form_of_rfc_5424() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let mut receiver = Receiver::new(&Forward::SyslogUdp(server.local_addr().expect("bound").to_string().into()));
    let syslog = SyslogSpec { identifier: Some("web".into()), ..SyslogSpec::default() };
    receiver.send(&unit(), &syslog, &line("hello")).expect("sent");
    let text = datagrams(&server, 1).remove(0);
    assert!(text.starts_with("<30>1 2023-11-14T22:13:20.123456Z "), "{text}");
    assert!(text.ends_with(" web - - - hello"), "{text}");
}

#[test]
fn a_connection_frames_each_line_and_is_made_anew_when_it_breaks() {
    let server = TcpListener::bind("127.0.0.1:0").expect("bound");
    let mut receiver = Receiver::new(&Forward::SyslogTcp(server.local_addr().expect("bound").to_string().into()));
    let syslog = SyslogSpec { identifier: Some("web".into()), ..SyslogSpec::default() };
    for text in ["one", "two"] {
        receiver.send(&unit(), &syslog, &line(text)).expect("sent");
        let (mut stream, _) = server.accept().expect("a connection");
        let mut framed = [0; 300];
        let length = stream.read(&mut framed).expect("read");
        let framed = std::str::from_utf8(&framed[..length]).expect("text");
        let (count, message) = framed.split_once(' ').expect("a frame");
        assert_eq!(count.parse(), Ok(message.len()));
        assert!(message.ends_with(text), "{message}");
        drop(stream);
        // A connection that the other end closed is noticed by the write after the next.
        while receiver.send(&unit(), &syslog, &line("lost")).is_ok() {}
    }
}

#[test]
fn each_line_is_sent_once_from_the_moment_on_in_which_it_was_asked_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let forward = Forward::SyslogUdp(server.local_addr().expect("bound").to_string().into());
    let tally = Arc::new(Tally::default());
    append(dir.path(), "before\n");
    let mut first = Forwarders::default();
    first.set(&unit(), dir.path(), &rules(&forward), &tally);
    append(dir.path(), "one\ntw");
    first.tell(&unit());
    assert!(datagrams(&server, 1)[0].ends_with(" one"));
    append(dir.path(), "o\n");
    first.tell(&unit());
    assert!(datagrams(&server, 1)[0].ends_with(" two"));
    // Until it is written down that it was sent.
    let sent = || Cursor::open(dir.path(), &forward).expect("open").place.offset == "before\none\ntwo\n".len() as u64;
    let tries = (0..500).find(|_| {
        pause();
        sent()
    });
    assert!(tries.is_some(), "it is written down");
    drop(first);
    append(dir.path(), "three\n");
    // The next manager's: it goes on where the first one ended.
    let mut second = Forwarders::default();
    second.set(&unit(), dir.path(), &rules(&forward), &tally);
    assert!(datagrams(&server, 1)[0].ends_with(" three"));
}

#[test]
fn a_receiver_that_is_too_far_behind_loses_what_lies_between_and_it_is_counted() {
    let dir = tempfile::tempdir().expect("a directory");
    let forward = Forward::SyslogUdp("127.0.0.1:1".into());
    let rules = Rules { segment_size: 100, ..rules(&forward) };
    let tally = Arc::new(Tally::default());
    let source = Source {
        dir: dir.path().to_owned(),
        line_max: 100,
        segment_size: rules.segment_size,
        syslog: rules.syslog,
        tally: Arc::clone(&tally),
    };
    append(dir.path(), "one\n");
    begin(dir.path(), &forward).expect("begun");
    for (number, length) in [(2, BEHIND_BYTES_MAX), (3, 10)] {
        File::create(log_path(dir.path(), number)).and_then(|file| file.set_len(length)).expect("written");
    }
    let mut cursor = Cursor::open(dir.path(), &forward).expect("open");
    cursor.skip_what_is_too_far(&source).expect("skipped");
    assert_eq!(cursor.place, Place { number: 3, offset: 0 });
    let unforwarded = || tally.unforwarded.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(unforwarded(), BEHIND_BYTES_MAX);
    // What was removed before it could be sent.
    fs::rename(log_path(dir.path(), 3), log_path(dir.path(), 5)).expect("renamed");
    cursor.skip_what_is_too_far(&source).expect("skipped");
    assert_eq!(cursor.place, Place { number: 5, offset: 0 });
    assert_eq!(unforwarded(), BEHIND_BYTES_MAX + 200);
    cursor.skip_what_is_too_far(&source).expect("nothing to skip");
    assert_eq!(unforwarded(), BEHIND_BYTES_MAX + 200);
}
