use std::{fs, io::Write, time::Duration};

use super::*;
use crate::{
    base::ByteSize,
    edge::log::{Place, Pump},
    unit::spec::LogSpec,
};

fn unit(name: &str) -> UnitName {
    UnitName::new(name).expect("a name")
}

fn rules(spec: &LogSpec) -> Rules {
    Rules::of(&unit("web"), None, spec)
}

fn start(dir: &std::path::Path, report: impl Fn(Report) + Send + Sync + 'static) -> Pump {
    Pump::start(dir.into(), Arc::new(Flow::default()), report).expect("a thread")
}

fn pause() {
    #[expect(clippy::disallowed_methods, reason = "the pump is a thread of its own; there is nothing to await")]
    thread::sleep(Duration::from_millis(10));
}

fn pipe() -> (OwnedFd, fs::File) {
    let (read_end, write_end) = nix::unistd::pipe2(OFlag::O_CLOEXEC).expect("a pipe");
    (read_end, fs::File::from(write_end))
}

/// Waits, bounded, until the files of `dir` hold `length` bytes; gives them back in order.
fn captured(dir: &std::path::Path, length: usize) -> Vec<u8> {
    for _ in 0..500 {
        let bytes: Vec<u8> = super::super::files::numbers(dir)
            .unwrap_or_default()
            .iter()
            .flat_map(|n| fs::read(super::super::files::log_path(dir, *n)).unwrap_or_default())
            .collect();
        if bytes.len() >= length {
            return bytes;
        }
        pause();
    }
    panic!("the output did not arrive");
}

#[test]
fn output_goes_into_segments_and_old_ones_are_removed() {
    let dir = tempfile::tempdir().expect("a directory");
    let rules = rules(&LogSpec { segment_size: Some(ByteSize(10_000)), keep: Some(3), ..LogSpec::default() });
    let pump = start(dir.path(), |report| assert_eq!(report, Report::Flows));
    let (read_end, mut writer) = pipe();
    pump.add(unit("web"), Stream::Output, read_end, rules);
    for line in 0..100 {
        writeln!(writer, "{line:0998}").expect("the pipe takes it");
        captured(&dir.path().join("web"), 1);
    }
    drop(writer);
    // The oldest segment goes when the next one has begun.
    let bytes = loop {
        let segments = super::super::files::numbers(&dir.path().join("web")).expect("listed").len();
        let bytes = captured(&dir.path().join("web"), 20_000);
        if segments == 3 && bytes.ends_with(b"99\n") {
            break bytes;
        }
    };
    // The last line of each goes over the edge rather than into the next one.
    for number in super::super::files::numbers(&dir.path().join("web")).expect("listed") {
        let text = fs::read(super::super::files::log_path(&dir.path().join("web"), number)).expect("read");
        assert!(text.len().is_multiple_of(999) && text.ends_with(b"\n"), "{number} has {} bytes", text.len());
    }
    assert!(bytes.len() <= 33_000, "{} bytes are kept", bytes.len());
}

#[test]
fn a_new_pump_goes_on_where_the_old_one_ended() {
    let dir = tempfile::tempdir().expect("a directory");
    let (read_end, mut writer) = pipe();
    let kept = read_end.try_clone().expect("dup");
    let first = start(dir.path(), |_| {});
    first.add(unit("web"), Stream::Output, read_end, rules(&LogSpec::default()));
    writer.write_all(b"one\n").expect("written");
    captured(&dir.path().join("web"), 4);
    drop(first);
    writer.write_all(b"two\n").expect("written");
    let second = start(dir.path(), |_| {});
    second.add(unit("web"), Stream::Output, kept, rules(&LogSpec::default()));
    assert_eq!(captured(&dir.path().join("web"), 8), b"one\ntwo\n");
}

#[test]
fn what_is_in_the_pipe_when_the_pump_ends_is_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let (read_end, mut writer) = pipe();
    for round in 1..=20 {
        let pump = start(dir.path(), |_| {});
        pump.add(unit("web"), Stream::Output, read_end.try_clone().expect("dup"), rules(&LogSpec::default()));
        writer.write_all(b"x\n").expect("written");
        drop(pump);
        assert_eq!(fs::read(dir.path().join("web/00000001.log")).expect("read").len(), 2 * round);
    }
}

#[test]
fn output_that_cannot_be_written_is_dropped_with_its_count_and_blocks_nobody() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("web"), "a file where the folder should be").expect("written");
    let (sender, reports) = mpsc::channel();
    let pump = start(dir.path(), move |report| sender.send(report).expect("heard"));
    let (read_end, mut writer) = pipe();
    pump.add(unit("web"), Stream::Output, read_end, rules(&LogSpec::default()));
    writer.write_all(&[b'x'; 100_000]).expect("the pipe is emptied although nothing can be written");
    let stuck = reports.recv_timeout(Duration::from_secs(5)).expect("a report");
    assert!(matches!(stuck, Report::Stuck { on_full: OnFull::Drop, .. }), "{stuck:?}");
    fs::remove_file(dir.path().join("web")).expect("removed");
    let mut lost = 0;
    while !fs::exists(dir.path().join("web/00000001.log")).expect("asked") {
        writer.write_all(b"x").expect("written");
        lost += 1;
        pause();
    }
    drop(writer);
    let told: Vec<Report> = reports.iter().take(2).collect();
    let [Report::Dropped { bytes, .. }, Report::Flows] = &told[..] else { panic!("{told:?}") };
    assert!((100_000..=100_000 + lost).contains(bytes), "{bytes}");
    let text = String::from_utf8(captured(&dir.path().join("web"), 1)).expect("text");
    assert!(text.starts_with(&format!("[roundsman: {bytes} bytes dropped: ")), "{text}");
}

#[test]
fn output_that_waits_for_the_disk_is_whole_afterwards() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("web"), "a file where the folder should be").expect("written");
    let (sender, reports) = mpsc::channel();
    let pump = start(dir.path(), move |report| sender.send(report).expect("heard"));
    let (read_end, mut writer) = pipe();
    let block = LogSpec { on_full: Some(OnFull::Block), ..LogSpec::default() };
    pump.add(unit("web"), Stream::Output, read_end, rules(&block));
    writer.write_all(b"one\ntwo\n").expect("written");
    let stuck = reports.recv_timeout(Duration::from_secs(5)).expect("a report");
    assert!(matches!(stuck, Report::Stuck { on_full: OnFull::Block, .. }), "{stuck:?}");
    fs::remove_file(dir.path().join("web")).expect("removed");
    writer.write_all(b"three\n").expect("written");
    assert_eq!(captured(&dir.path().join("web"), 14), b"one\ntwo\nthree\n");
    assert_eq!(reports.recv_timeout(Duration::from_secs(5)), Ok(Report::Flows));
}

#[test]
fn lines_over_the_rate_limit_are_dropped_and_a_line_says_how_many() {
    let dir = tempfile::tempdir().expect("a directory");
    let flow = Arc::new(Flow::default());
    let pump = Pump::start(dir.path().into(), Arc::clone(&flow), |_| {}).expect("a thread");
    let (read_end, mut writer) = pipe();
    let limit = LogSpec {
        rate_limit_interval: Some(TimeSpan::from_millis(100)),
        rate_limit_burst: Some(10),
        ..LogSpec::default()
    };
    pump.add(unit("web"), Stream::Output, read_end, rules(&limit));
    writer.write_all(&b"line\n".repeat(3000)).expect("written");
    captured(&dir.path().join("web"), 50);
    let mut text = String::new();
    while !text.contains("[roundsman:") {
        pause();
        writer.write_all(b"more\n").expect("written");
        text = String::from_utf8(captured(&dir.path().join("web"), 1)).expect("text");
    }
    let (before, note) = text.split_once("[roundsman: ").expect("it is there");
    assert!(before.starts_with(&"line\n".repeat(10)), "{before}");
    let dropped: u64 = note.split_once(' ').and_then(|(count, _)| count.parse().ok()).expect("a count");
    let counts = flow.of([unit("web")].iter())[0].expect("counted");
    assert_eq!(counts.limited_lines, dropped, "{text}");
    assert!(dropped >= 2990, "{text}");
}

#[test]
fn where_the_next_byte_goes_is_known_whether_it_was_taken_or_waits() {
    let dir = tempfile::tempdir().expect("a directory");
    let flow = Arc::new(Flow::default());
    let pump = Pump::start(dir.path().into(), Arc::clone(&flow), |_| {}).expect("a thread");
    let (read_end, mut writer) = pipe();
    pump.add(unit("web"), Stream::Output, read_end, rules(&LogSpec::default()));
    writer.write_all(b"first\n").expect("the pipe takes it");
    captured(&dir.path().join("web"), 6);
    let mut written = 6;
    for _ in 0..50 {
        writer.write_all(b"more\n").expect("the pipe takes it");
        written += 5;
        // While the thread takes it nobody knows.
        if let Some(place) = flow.next_place(&unit("web")) {
            assert_eq!(place, Place { number: 1, offset: written });
        }
    }
    captured(&dir.path().join("web"), usize::try_from(written).expect("few"));
    pause();
    assert_eq!(flow.next_place(&unit("web")), Some(Place { number: 1, offset: written }));
    assert_eq!(flow.next_place(&unit("nobody")), None);
}
