use std::{ffi::CString, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::base::{
    ExitStatus, Generation, InvocationId, Mono, Now, Pid, ProcessKey, Role, RunId, Signal, SpawnFailure, SpawnStep,
    UnitName, Usage, Wall,
    confinement::{Confinement, Instruction, MountStep, Network},
};

fn unit() -> UnitName {
    UnitName::new("web@1").unwrap()
}

fn key() -> ProcessKey {
    ProcessKey { run: RunId { unit: unit(), generation: Generation(7) }, role: Role::Control(3) }
}

fn text(text: &str) -> CString {
    CString::new(text).unwrap()
}

fn spec() -> SpawnSpec {
    SpawnSpec {
        path: text("/bin/web"),
        or_paths: vec![text("/usr/bin/web")],
        argv: vec![text("web"), text("")],
        env: vec![text("A=b")],
        root: Some(text("/srv/jail")),
        cwd: text("/"),
        cwd_may_miss: true,
        user: Some(Credentials { uid: 1, gid: 2, groups: vec![3, 4] }),
        umask: 0o22,
        nice: Some(-5),
        schedule: Schedule {
            cpu: Some(CpuScheduling { policy: 0x4000_0002, priority: 7 }),
            affinity: vec![5, 1],
            io_priority: Some(0x4003),
            timer_slack: Some(50_000),
            personality: Some(8),
        },
        oom_score_adj: -1000,
        limits: vec![ResourceLimit { resource: 7, soft: 10, hard: u64::MAX }],
        privileges: Privileges { bounding: Some(7), ambient: 3, secure_bits: 5, keyring: Keyring::Shared },
        no_new_privs: true,
        ignore_sigpipe: false,
        cgroups: vec![c"/sys/fs/cgroup/memory/x/tasks".into()],
        confirm_exec: true,
        stdin: Input::Data(b"in\0put".to_vec()),
        stdout: Output::Log(Stream::Output),
        stderr: Output::Inherit,
        listen: vec![Passed { stored: "stream:[::]:80".into(), name: "http".into() }],
        kept: true,
        confinement: Some(Box::new(confinement())),
        directories: vec![Directory {
            step: SpawnStep::StateDirectory,
            path: text("/var/lib/web"),
            mode: 0o750,
            owner: Some(Owner { uid: 1, gid: 2 }),
            keep: true,
            links: vec![Link { path: text("/var/lib/www"), target: text("web") }],
        }],
        secrets: Some(Secrets {
            path: text("/run/credentials/web.service"),
            fresh: true,
            owner: None,
            list: vec![Secret { id: text("key"), files: vec![text("/etc/key")], value: Some(b"x".to_vec()) }],
        }),
    }
}

fn confinement() -> Confinement {
    let (path, kind, options) = (String::from("/x"), String::from("tmpfs"), String::from("size=1m"));
    Confinement {
        network: Network::Joined("/run/netns/x".into()),
        namespaces: 1 << 17,
        mounts: vec![
            MountStep::Propagate(1 << 19),
            MountStep::EnterRoot { path: path.clone() },
            MountStep::Hold { place: 1, path: path.clone(), recursive: true, may_miss: false },
            MountStep::Put { place: 1, path: path.clone(), may_miss: true },
            MountStep::Mount { kind, path: path.clone(), flags: 6, options, may_miss: true },
            MountStep::MakeDirectory { path: path.clone() },
            MountStep::MakeFile { path: path.clone() },
            MountStep::MakeLink { path: path.clone(), to: "/y".into() },
            MountStep::Restrict { path, attributes: 1, recursive: true, may_miss: false },
        ],
        drop_capabilities: 1 << 27,
        filter: vec![Instruction { code: 6, jump_true: 1, jump_false: 2, operand: 0x7fff_0000 }],
    }
}

fn orders() -> Vec<Order> {
    let (unit, key, signal) = (unit(), key(), Signal::TERM);
    let name = String::from("http");
    let order =
        SpawnOrder { key: key.clone(), invocation: InvocationId([9; 16]), spec: spec(), memo: Some(vec![0, 7]) };
    vec![
        Order::Hello { version: VERSION },
        Order::Alive,
        Order::Ready,
        Order::Spawn(Box::new(order)),
        Order::Signal { key: key.clone(), signal },
        Order::SignalGroup { key: key.clone(), signal },
        Order::SignalPid { pid: Pid::new(77).unwrap(), start_time: 5, signal },
        Order::Store { unit: unit.clone(), name: name.clone() },
        Order::Keep { unit: unit.clone(), name: name.clone(), max: 7, polled: true },
        Order::Release { unit: unit.clone() },
        Order::Forget { unit: unit.clone(), name },
        Order::DropUnit { unit: unit.clone() },
        Order::DropInstance { unit: unit.clone() },
        Order::OpenLog { unit: unit.clone(), stream: Stream::Error, bytes: 1 << 20 },
        Order::Remember { unit: unit.clone(), memo: vec![0, 255] },
        Order::AckExit { key },
        Order::AckAggregated { unit, count: 3 },
        Order::AckNotified { seq: 8 },
        Order::Upgrade { path: text("/new") },
        Order::Shutdown { code: 1 },
        Order::TellInit { bytes: b"READY=1".into() },
    ]
}

fn facts() -> Vec<Fact> {
    let (unit, key, pid) = (unit(), key(), Pid::new(42).unwrap());
    let now = Now { mono: Mono(1), wall: Wall(-2) };
    let invocation = InvocationId([1; 16]);
    let usage = Usage { user: Duration::from_micros(5), system: Duration::ZERO, max_rss_kib: 9 };
    let exit = Exit {
        key: key.clone(),
        invocation,
        pid,
        status: ExitStatus::Signaled { signal: Signal::KILL, core: true },
        usage: Some(usage),
        at: now,
        started: now,
    };
    let notified = Notified {
        seq: 1,
        pid: 2,
        uid: 3,
        gid: 4,
        key: Some(key.clone()),
        session: None,
        started: Some(7),
        bytes: b"READY=1".into(),
        dropped: 6,
    };
    let failure = SpawnFailure { step: SpawnStep::Exec, errno: 2 };
    vec![
        Fact::SnapshotBegin { version: 1, cause: ManagerCause::Hang, keeper: 1, degraded: vec!["oom".into()] },
        Fact::Process(RunningProcess {
            key: key.clone(),
            invocation,
            pid,
            start_time: 3,
            started: now,
            clamped: Clamped { nice: true, ..Clamped::default() },
        }),
        Fact::Unit(UnitRecord { unit: unit.clone(), generation: Generation(4), memo: vec![1] }),
        Fact::Stored { unit: unit.clone(), name: "http".into() },
        Fact::SnapshotEnd,
        Fact::LogPipe { unit: unit.clone(), stream: Stream::Output, bytes: 65536 },
        Fact::Kept { unit: unit.clone(), count: 3 },
        Fact::LogPipeFailed { unit: unit.clone(), stream: Stream::Output, errno: 24 },
        Fact::Spawned { key: key.clone(), pid, start_time: 3, clamped: Clamped { limits: true, ..Clamped::default() } },
        Fact::ExecDone { key: key.clone() },
        Fact::SpawnFailed { key: key.clone(), failure },
        Fact::Exited(Exit { status: ExitStatus::Exited(3), usage: None, ..exit.clone() }),
        Fact::Exited(exit),
        Fact::ExitsAggregated { unit, count: 70_000, generation: Generation(70_001) },
        Fact::Notified(notified),
        Fact::DaemonSignal { signal: Signal::HUP },
        Fact::Ping,
        Fact::SignalFailed { key, signal: Signal::TERM, errno: 3 },
        Fact::Refused { reason: "store: full".into() },
        Fact::UpgradeFailed { reason: "no such file".into() },
    ]
}

#[test]
fn every_message_is_read_as_it_was_written() {
    for order in orders() {
        assert_eq!(decode::<Order>(&encode(&order)).as_ref(), Ok(&order));
    }
    for fact in facts() {
        assert_eq!(decode::<Fact>(&encode(&fact)).as_ref(), Ok(&fact));
    }
}

fn cannot_be_cut_or_lengthened<T: Wire + std::fmt::Debug>(message: &T) {
    let mut bytes = encode(message);
    for length in 0..bytes.len() {
        let cut = decode::<T>(bytes.get(..length).unwrap());
        assert!(cut.is_err(), "{length} of {} bytes: {cut:?}", bytes.len());
    }
    bytes.push(0);
    assert_eq!(decode::<T>(&bytes).err(), Some(DecodeError::Trailing(1)));
}

#[test]
fn no_message_can_be_cut_or_lengthened() {
    orders().iter().for_each(cannot_be_cut_or_lengthened);
    facts().iter().for_each(cannot_be_cut_or_lengthened);
}

#[test]
fn a_count_cannot_ask_for_more_than_the_message_holds() {
    let mut writer = Writer::default();
    u32::MAX.put(&mut writer);
    assert_eq!(decode::<Vec<u64>>(&writer.into_bytes()), Err(DecodeError::Short));
}

#[test]
fn what_could_signal_everyone_is_no_pid() {
    for raw in [-1_i32, 0, 1] {
        assert!(decode::<Pid>(&raw.to_le_bytes()).is_err(), "{raw}");
    }
}

fn reads_back(bytes: &[u8]) {
    if let Ok(order) = decode::<Order>(bytes) {
        assert_eq!(encode(&order), bytes);
    }
    if let Ok(fact) = decode::<Fact>(bytes) {
        assert_eq!(encode(&fact), bytes);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_written_back_alike(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        reads_back(&bytes);
    }

    #[test]
    fn any_damage_is_refused_or_written_back_alike(
        which in 0_usize..37,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let messages: Vec<_> = orders().iter().map(encode).chain(facts().iter().map(encode)).collect();
        let mut bytes = messages.get(which % messages.len()).unwrap().clone();
        for (index, value) in damage {
            let at = index.index(bytes.len());
            *bytes.get_mut(at).unwrap() = value;
        }
        reads_back(&bytes);
    }

    #[test]
    fn any_spec_is_read_as_it_was_written(
        words in prop::collection::vec("[^\0]{0,20}", 0..20),
        numbers in any::<(u32, i8, i16, u64, bool, bool)>(),
    ) {
        let (umask, nice, oom_score_adj, hard, no_new_privs, confirm_exec) = numbers;
        let spec = SpawnSpec {
            argv: words.iter().map(|word| text(word)).collect(),
            listen: words.iter().map(|word| Passed { stored: word.clone(), name: word.clone() }).collect(),
            umask,
            nice: Some(nice),
            oom_score_adj,
            limits: vec![ResourceLimit { resource: 1, soft: 0, hard }; words.len()],
            no_new_privs,
            confirm_exec,
            ..spec()
        };
        prop_assert_eq!(decode::<SpawnSpec>(&encode(&spec)), Ok(spec));
    }
}
