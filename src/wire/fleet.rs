//! What the nodes of a fleet tell each other: JSON, through Redis or over ssh. Whoever gets what is of another version refuses
//! it; fields that it does not know it leaves alone.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::fleet::{Answer, Event, Instance, NodeName, Plan, PlanId, Report, Say, Seq, StepOrder, Token};

/// The version that this program speaks.
pub const VERSION: u16 = 1;

/// To a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Who sends it.
    pub from: NodeName,
    /// The how manieth it is to this node by whoever drives.
    pub nth: u64,
    /// What is wanted.
    pub wanted: Wanted,
}

/// What is wanted of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// A promise, and what is known of the plan's steps.
    Promise {
        /// To whom.
        token: Token,
        /// Of which plan.
        plan: PlanId,
    },
    /// A step.
    Step {
        /// By which token.
        token: Token,
        /// What.
        order: Box<StepOrder>,
    },
    /// Of whoever drives: what people want of its plan.
    Say {
        /// Which plan.
        plan: PlanId,
        /// What they want.
        say: Say,
    },
    /// Of whoever drives: another node is to drive, as someone wants.
    GiveWay {
        /// Who has the lock, as it was taken.
        driver: String,
        /// Who is to have it.
        to: String,
    },
    /// To see whether these answer at their addresses, and to send whoever asks what was found.
    Seek {
        /// Whom it does not hear.
        nodes: BTreeSet<NodeName>,
    },
    /// Of whoever asked: what was found.
    Sought {
        /// Whether each answers.
        nodes: BTreeMap<NodeName, bool>,
    },
}

/// By a node, to whoever drives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// Who says it.
    pub from: NodeName,
    /// Where it stands in all that the node says.
    pub seq: Seq,
    /// What it says.
    pub said: Said,
}

/// What a node says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// How it is.
    Report(Report),
    /// What becomes of what was wanted of it.
    Answer(Answer),
}

/// The sign of life of a node, which stays a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Whose.
    pub from: NodeName,
    /// Where it stands in all that the node says.
    pub seq: Seq,
    /// How it is.
    pub report: Report,
    /// The digest of the fleet as it knows it, in hex.
    pub topology: String,
    /// The program's version.
    pub version: String,
    /// The last command that it heard.
    pub heard: u64,
    /// What else people want to know of its instances. No step hangs on it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: Details,
}

/// By instance.
pub type Details = BTreeMap<Instance, Detail>;

/// What a node knows of an instance besides how it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Detail {
    /// What the service says of itself (`STATUS=`, sd_notify(3)), cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub says: Option<String>,
    /// What it is judged by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
}

/// A probe of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// `http`, `tcp` …; `upload` where something is sent, and has to come back.
    pub kind: String,
    /// `healthy`, `degraded`, `unhealthy`, `unknown`.
    pub verdict: String,
}

/// What comes back from a host that is reached by ssh, a line each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromHost {
    /// How it is.
    Beat(Beat),
    /// What becomes of what was wanted of it.
    Word(Word),
}

/// A plan, as it is kept for whoever drives it next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanDocument {
    /// Which.
    pub id: PlanId,
    /// Who ordered it.
    pub by: String,
    /// Where.
    pub node: NodeName,
    /// When, in microseconds since 1970.
    pub at_us: i64,
    /// What is done.
    pub plan: Plan,
    /// What its digest is, in hex: what was agreed to.
    pub digest: String,
    /// The `fleet.toml` that it was made for: whoever has another one by then can end it all the same.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fleet_toml: String,
    /// The plan in whose place it comes: this one begins once that one is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<PlanId>,
    /// Whether whoever ordered it agrees to all of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_agreed: bool,
}

impl PlanDocument {
    /// As it is kept, if that is what was agreed to.
    ///
    /// # Errors
    /// See [`FleetError`].
    pub fn read(text: &str) -> Result<Self, FleetError> {
        let document: Self = read(text)?;
        if document.plan.digest().to_string() == document.digest { Ok(document) } else { Err(FleetError::Changed) }
    }
}

/// A word of a plan's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalWord {
    /// When, in microseconds since 1970.
    pub at_us: i64,
    /// It.
    pub event: Event,
}

impl JournalWord {
    /// All of a journal. Who leaves out what it does not understand may leave out an end.
    ///
    /// # Errors
    /// See [`FleetError`].
    pub fn read_all(words: &[String]) -> Result<Vec<Self>, FleetError> {
        words.iter().map(|text| read(text)).collect()
    }
}

/// Why something is not understood.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// It is none of ours.
    #[error("it is no message of a fleet")]
    Json(#[source] serde_json::Error),
    /// It is of another program.
    #[error("it is of version {0}, and this program speaks {VERSION}; bring all nodes to the same release")]
    Version(u16),
    /// It is a plan, and another one than was agreed to.
    #[error(
        "it is another plan than was agreed to, as its digest shows; a node of the release that made it can go on with it"
    )]
    Changed,
}

#[derive(Serialize)]
struct Versioned<'a, T> {
    v: u16,
    is: &'a T,
}

#[derive(Deserialize)]
struct OfVersion {
    v: u16,
}

#[derive(Deserialize)]
struct Read<T> {
    is: T,
}

/// As it is sent.
pub fn write<T: Serialize>(value: &T) -> String {
    // Our own types have no map without text keys and no number that JSON lacks, so this cannot fail.
    serde_json::to_string(&Versioned { v: VERSION, is: value }).unwrap_or_default()
}

/// As it was meant.
///
/// # Errors
/// See [`FleetError`].
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, FleetError> {
    let OfVersion { v } = serde_json::from_str(text).map_err(FleetError::Json)?;
    if v != VERSION {
        return Err(FleetError::Version(v));
    }
    serde_json::from_str(text).map(|Read { is }| is).map_err(FleetError::Json)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        base::{InvocationId, TimeSpan, UnitName},
        fleet::{
            Condition, Deed, End, Entry, Failure, FailureKind, Instance, Intent, Observed, PoolName, ServiceName,
            Stage, StepId, StepOutcome, Task, Verb, Verdict, Wave, Why,
        },
        unit::Digest,
    };

    fn vm1() -> NodeName {
        NodeName::new("vm1").unwrap()
    }

    fn token() -> Token {
        Token { epoch: 7, owner: 0xab }
    }

    fn order(deed: Deed) -> Box<StepOrder> {
        let instance: Instance = "app@vm1".parse().unwrap();
        Box::new(StepOrder {
            id: StepId([1; 16]),
            plan: PlanId(2),
            instance,
            unit: UnitName::new("app").unwrap(),
            deed,
            expects: Some(InvocationId([3; 16])),
            deadline: TimeSpan::from_secs(330),
            ttl: TimeSpan::from_secs(30),
        })
    }

    fn task() -> Task {
        let drains = vec![(PoolName::new("apps").unwrap(), "app-1".into())];
        Task {
            instance: "app@vm1".parse().unwrap(),
            unit: UnitName::new("app").unwrap(),
            action: crate::fleet::Action::ReloadOrRestart,
            drains,
        }
    }

    /// What is sent, and how: whoever changes a line here breaks fleets of which a part is upgraded.
    #[test]
    fn messages_are_spelt_as_they_always_were() {
        let command = |wanted| write(&Command { from: vm1(), nth: 3, wanted });
        let word = |said| write(&Word { from: vm1(), seq: Seq { life: 1, nth: 2 }, said });
        let report = Report {
            promised: Some(token()),
            instances: BTreeMap::from([(
                "app@vm1".parse().unwrap(),
                Observed { condition: Condition::Healthy, run: None },
            )]),
            pools: BTreeMap::from([(PoolName::new("apps").unwrap(), BTreeMap::from([("app-1".into(), true)]))]),
        };
        let failed = StepOutcome::Failed { kind: FailureKind::StartLimit, reason: "5 starts".to_owned() };
        let done = StepOutcome::Done { before: None, after: Some(InvocationId([9; 16])) };
        let ledger =
            BTreeMap::from([(StepId([1; 16]), Entry::Started { before: None }), (StepId([2; 16]), Entry::Over(done))]);
        let owner = "000000000000000000000000000000ab";
        let (one, two) = ("01".repeat(16), "00000000000000000000000000000002");
        for (sent, spelt) in [
            (
                command(Wanted::Promise { token: token(), plan: PlanId(2) }),
                format!(
                    r#"{{"v":1,"is":{{"from":"vm1","nth":3,"wanted":{{"promise":{{"token":{{"epoch":7,"owner":"{owner}"}},"plan":"{two}"}}}}}}}}"#
                ),
            ),
            (
                command(Wanted::Step { token: token(), order: order(Deed::Restart) }),
                format!(
                    r#"{{"v":1,"is":{{"from":"vm1","nth":3,"wanted":{{"step":{{"token":{{"epoch":7,"owner":"{owner}"}},"order":{{"id":"{one}","plan":"{two}","instance":"app@vm1","unit":"app","deed":"restart","expects":"{}","deadline":330000000,"ttl":30000000}}}}}}}}}}"#,
                    "03".repeat(16)
                ),
            ),
            (
                command(Wanted::Seek { nodes: BTreeSet::from([vm1()]) }),
                r#"{"v":1,"is":{"from":"vm1","nth":3,"wanted":{"seek":{"nodes":["vm1"]}}}}"#.to_owned(),
            ),
            (
                command(Wanted::Sought { nodes: BTreeMap::from([(vm1(), true)]) }),
                r#"{"v":1,"is":{"from":"vm1","nth":3,"wanted":{"sought":{"nodes":{"vm1":true}}}}}"#.to_owned(),
            ),
            (
                word(Said::Report(report)),
                format!(
                    r#"{{"v":1,"is":{{"from":"vm1","seq":{{"life":1,"nth":2}},"said":{{"report":{{"promised":{{"epoch":7,"owner":"{owner}"}},"instances":{{"app@vm1":{{"condition":"healthy","run":null}}}},"pools":{{"apps":{{"app-1":true}}}}}}}}}}}}"#
                ),
            ),
            (
                word(Said::Answer(Answer::Promised { token: token(), ledger })),
                format!(
                    r#"{{"v":1,"is":{{"from":"vm1","seq":{{"life":1,"nth":2}},"said":{{"answer":{{"promised":{{"token":{{"epoch":7,"owner":"{owner}"}},"ledger":{{"{one}":{{"started":{{"before":null}}}},"{}":{{"over":{{"done":{{"before":null,"after":"{}"}}}}}}}}}}}}}}}}}}"#,
                    "02".repeat(16),
                    "09".repeat(16)
                ),
            ),
            (
                word(Said::Answer(Answer::Step { step: StepId([1; 16]), verdict: Verdict::Over(failed) })),
                format!(
                    r#"{{"v":1,"is":{{"from":"vm1","seq":{{"life":1,"nth":2}},"said":{{"answer":{{"step":{{"step":"{one}","verdict":{{"over":{{"failed":{{"kind":"start_limit","reason":"5 starts"}}}}}}}}}}}}}}}}"#
                ),
            ),
        ] {
            assert_eq!(sent, spelt);
        }
    }

    #[test]
    fn what_was_written_is_read_as_it_was() {
        let drain = Deed::Drain { pool: PoolName::new("apps").unwrap(), server: "app-1".into() };
        for deed in [Deed::Notify, Deed::Validate, Deed::Reload, Deed::Restart, drain] {
            let command = Command { from: vm1(), nth: 1, wanted: Wanted::Step { token: token(), order: order(deed) } };
            assert_eq!(read::<Command>(&write(&command)).unwrap(), command);
        }
        let service = ServiceName::new("app").unwrap();
        let wave = Wave {
            service: service.clone(),
            tasks: vec![task()],
            after: BTreeSet::from([0]),
            max_unavailable: 1,
            soak: TimeSpan::INFINITY,
            alone: true,
            approve: false,
            why: vec![Why::Wanted, Why::DependsOn(service.clone()), Why::Step { done: 1, all: 2 }],
        };
        let plan = Plan {
            intent: Intent {
                verb: Verb::Restart,
                services: BTreeSet::from([service]),
                nodes: BTreeSet::new(),
                cascade: true,
                at_any_time: false,
            },
            topology: Digest([5; 32]),
            waves: vec![wave],
            blockers: Vec::new(),
        };
        let document = PlanDocument {
            id: PlanId(1),
            by: "uid 0".to_owned(),
            node: vm1(),
            at_us: 5,
            digest: plan.digest().to_string(),
            plan,
            fleet_toml: "name = \"test\"\n".to_owned(),
            supersedes: Some(PlanId(9)),
            is_agreed: true,
        };
        assert_eq!(PlanDocument::read(&write(&document)).unwrap(), document);
        let text = write(&document).replace(r#""max_unavailable":1"#, r#""max_unavailable":2"#);
        assert!(matches!(PlanDocument::read(&text), Err(FleetError::Changed)), "what was agreed to is another plan");
    }

    fn events() -> impl Strategy<Value = Event> {
        let text = "[ -~äöü\\n\\\\\"]{0,20}";
        let name = "[a-z][a-z0-9-]{0,8}";
        let instance = (name, name).prop_map(|(one, other)| format!("{one}@{other}").parse::<Instance>().unwrap());
        let stages = [Stage::Waiting, Stage::Acting, Stage::Healing, Stage::Well, Stage::Undone];
        let kinds = [FailureKind::Timeout, FailureKind::StartLimit, FailureKind::HostKey, FailureKind::Unhealthy];
        let failure = (proptest::sample::select(stages.to_vec()), proptest::sample::select(kinds.to_vec()), text)
            .prop_map(|(at, kind, reason)| Failure { at, kind, reason });
        prop_oneof![
            (proptest::option::of(0_usize..100), text).prop_map(|(wave, by)| Event::Approved { wave, by }),
            (text, proptest::option::of(text)).prop_map(|(reason, by)| Event::Paused { reason, by }),
            text.prop_map(|by| Event::Resumed { by }),
            (text, proptest::option::of(text)).prop_map(|(reason, by)| Event::Aborting { reason, by }),
            text.prop_map(|by| Event::Taken { node: vm1(), by }),
            (instance.clone(), text).prop_map(|(instance, by)| Event::Quarantined { instance, by }),
            (instance.clone(), any::<u32>()).prop_map(|(instance, attempt)| Event::Retried { instance, attempt }),
            instance.clone().prop_map(Event::Done),
            (instance, failure).prop_map(|(instance, failure)| Event::Failed(instance, failure)),
            proptest::sample::select(vec![End::Succeeded, End::Aborted]).prop_map(Event::Ended),
        ]
    }

    /// Objects that have several fields get one more.
    fn with_more(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(fields) => {
                fields.values_mut().for_each(with_more);
                if fields.len() > 1 {
                    fields.insert("colour".to_owned(), "red".into());
                }
            }
            serde_json::Value::Array(all) => all.iter_mut().for_each(with_more),
            serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::String(_) => {}
        }
    }

    proptest! {
        /// P8: what is new in a word is left alone, and a word of another version is not left out of its journal but refuses it.
        #[test]
        fn a_journal_is_read_as_it_was_written_or_not_at_all(
            events in proptest::collection::vec(events(), 0..8),
            v in any::<u16>(),
            at: proptest::sample::Index,
        ) {
            let journal: Vec<JournalWord> = events.into_iter().map(|event| JournalWord { at_us: -5, event }).collect();
            let mut words: Vec<String> = journal.iter().map(write).collect();
            prop_assert_eq!(&JournalWord::read_all(&words).unwrap(), &journal);
            for word in &mut words {
                let mut value: serde_json::Value = serde_json::from_str(word).unwrap();
                with_more(&mut value);
                *word = value.to_string();
            }
            prop_assert_eq!(&JournalWord::read_all(&words).unwrap(), &journal);
            prop_assume!(!words.is_empty() && v != VERSION);
            let word = at.get(&words).replace(r#""v":1"#, &format!(r#""v":{v}"#));
            words[at.index(journal.len())] = word;
            prop_assert!(matches!(JournalWord::read_all(&words), Err(FleetError::Version(of)) if of == v));
        }
    }

    #[test]
    fn what_is_new_in_a_message_is_left_alone_and_another_version_is_refused() {
        let text = write(&Command { from: vm1(), nth: 1, wanted: Wanted::Promise { token: token(), plan: PlanId(1) } });
        let more = text.replace(r#""nth":1"#, r#""nth":1,"colour":"red""#);
        assert!(more.contains("colour") && read::<Command>(&more).is_ok());
        let newer = text.replace(r#""v":1"#, r#""v":2"#);
        let said = read::<Command>(&newer).unwrap_err().to_string();
        assert_eq!(said, "it is of version 2, and this program speaks 1; bring all nodes to the same release");
        for bad in ["", "{}", "[1]", r#"{"v":1}"#, r#"{"v":1,"is":{}}"#, r#"{"v":1,"is":{"from":"-x","nth":1}}"#] {
            assert!(read::<Command>(bad).is_err(), "{bad}");
        }
    }
}
