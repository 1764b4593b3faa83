//! `roundsman.toml` as it is written.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use serde::Deserialize;

use super::{super::alerting::AlertFile, CgroupMode, Container, Fault};
use crate::{
    base::{ByteSize, Signal, TimeSpan, UnitName},
    edge::store::Retention,
    node::input::RestartBudget,
    unit::spec::{Compress, Forward, LINE_BYTES, LogSpec, OnFull, SEGMENT_BYTES},
};

/// Restarts by probes of all units, unless the settings say otherwise: enough for each of some services that hang at once, and
/// not for a crowd to go round in circles.
const RESTART_BUDGET: u32 = 20;
const RESTART_BUDGET_INTERVAL: TimeSpan = TimeSpan::from_secs(300);

/// What the keeper hears and does not mean anything to the supervisor itself.
pub(super) const FORWARDABLE: [Signal; 3] = [Signal::USR1, Signal::QUIT, Signal::WINCH];

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) paths: PathsFile,
    #[serde(default)]
    pub(super) log: LogFile,
    #[serde(default)]
    pub(super) cgroup: CgroupFile,
    #[serde(default)]
    pub(super) disk: DiskFile,
    #[serde(default)]
    pub(super) health: HealthFile,
    #[serde(default)]
    pub(super) history: HistoryFile,
    #[serde(default)]
    pub(super) alert: AlertFile,
    #[serde(default)]
    pub(super) container: ContainerFile,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PathsFile {
    pub(super) units: Option<Vec<PathBuf>>,
    pub(super) state: Option<PathBuf>,
    pub(super) runtime: Option<PathBuf>,
    pub(super) logs: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogFile {
    segment_size: Option<Size>,
    segment_sec: Option<Span>,
    keep: Option<u32>,
    total_size: Option<Size>,
    retention_sec: Option<Span>,
    compress: Option<Word<Compress>>,
    line_max: Option<Size>,
    rate_limit_interval_sec: Option<Span>,
    rate_limit_burst: Option<u32>,
    on_full: Option<Word<OnFull>>,
    forward: Option<Vec<Word<Forward>>>,
}

impl LogFile {
    pub(super) fn spec(self) -> LogSpec {
        // As in units: zero is no limit.
        let limit = |span: Span| if span.0.is_zero() { TimeSpan::INFINITY } else { span.0 };
        LogSpec {
            segment_size: self.segment_size.map(|size| size.0),
            segment_age: self.segment_sec.map(limit),
            keep: self.keep,
            total_size: self.total_size.map(|size| size.0),
            retention: self.retention_sec.map(limit),
            compress: self.compress.map(|word| word.0),
            line_max: self.line_max.map(|size| size.0),
            rate_limit_interval: self.rate_limit_interval_sec.map(|span| span.0),
            rate_limit_burst: self.rate_limit_burst,
            on_full: self.on_full.map(|word| word.0),
            forward: self.forward.map(|list| list.into_iter().map(|word| word.0).collect()),
            ..LogSpec::default()
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CgroupFile {
    #[serde(default)]
    pub(super) mode: CgroupMode,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DiskFile {
    pub(super) min_free_bytes: Option<Size>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HealthFile {
    restart_budget: Option<u32>,
    restart_budget_interval: Option<Span>,
}

impl HealthFile {
    pub(super) fn budget(&self) -> Result<RestartBudget, Fault> {
        let refused = |key, message: String| Err(Fault::from(message).within(key).within("health"));
        let burst = self.restart_budget.unwrap_or(RESTART_BUDGET);
        let interval = self.restart_budget_interval.map_or(RESTART_BUDGET_INTERVAL, |span| span.0);
        let most = RestartBudget::BURST_MAX;
        if burst > most {
            return refused("restart_budget", format!("[health] restart_budget is at most {most}, or 0 for no limit"));
        }
        if interval.is_zero() || interval.duration().is_none() {
            return refused(
                "restart_budget_interval",
                "[health] restart_budget_interval must be above zero and finite; restart_budget = 0 is no limit"
                    .to_owned(),
            );
        }
        Ok(RestartBudget { burst, interval })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryFile {
    retention_sec: Option<Span>,
    rows_max: Option<u32>,
}

impl HistoryFile {
    pub(super) fn retention(&self) -> Retention {
        let Retention { age, rows_min, rows } = Retention::default();
        // As elsewhere: zero is no limit.
        let wanted = |span: Span| span.0.duration().filter(|age| !age.is_zero()).unwrap_or(Duration::MAX);
        Retention {
            age: self.retention_sec.map_or(age, wanted),
            rows_min,
            rows: self.rows_max.map_or(rows, |rows| if rows == 0 { u32::MAX } else { rows }),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ContainerFile {
    main: Option<String>,
    forward_signals: Option<Vec<String>>,
}

impl ContainerFile {
    pub(super) fn settings(self) -> Result<Container, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut wrong = |key, message: String| faults.push(Fault::from(message).within(key).within("container"));
        let main = self.main.and_then(|text| {
            UnitName::new(&text).map_err(|error| wrong("main", format!("[container] main = {text:?}: {error}"))).ok()
        });
        let mut forward = Vec::new();
        match (self.forward_signals, &main) {
            (None, Some(_)) => forward.extend(FORWARDABLE),
            (None, None) => {}
            (Some(_), None) => {
                wrong("forward_signals", "[container] forward_signals needs main, to whom they go".to_owned());
            }
            (Some(names), Some(_)) => {
                for name in names {
                    match Signal::parse(&name).filter(|signal| FORWARDABLE.contains(signal)) {
                        Some(signal) => forward.push(signal),
                        None => wrong(
                            "forward_signals",
                            format!(
                                "[container] forward_signals: {name:?} cannot go on to the unit (USR1, QUIT and WINCH \
                                 can; HUP reloads, TERM and INT stop everything, USR2 upgrades)"
                            ),
                        ),
                    }
                }
            }
        }
        if faults.is_empty() { Ok(Container { main, forward }) } else { Err(faults) }
    }
}

/// A size as a number of bytes or as text ("16M").
#[derive(Debug, Clone, Copy)]
pub(super) struct Size(pub(super) ByteSize);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Size;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number of bytes, or a size such as \"16M\"")
            }
            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Size, E> {
                u64::try_from(number).map(|n| Size(ByteSize(n))).map_err(|_| E::custom("a size is not negative"))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map(Size).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A span of time as a number of seconds or as text ("10min").
#[derive(Debug, Clone, Copy)]
struct Span(TimeSpan);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Span;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number of seconds, or a span such as \"10min\"")
            }
            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Span, E> {
                let secs = u64::try_from(number).map_err(|_| E::custom("a span is not negative"))?;
                Ok(Span(TimeSpan::from_secs(secs)))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map(Span).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// One of some words, as units have them.
#[derive(Debug, Clone)]
struct Word<T>(T);

/// What can be read from a word.
trait FromWord: Sized {
    fn from_word(word: &str) -> Result<Self, String>;
}

fn choice<T: Copy>(word: &str, words: &[(&str, T)]) -> Result<T, String> {
    let known = words.iter().find(|(known, _)| *known == word).map(|(_, meaning)| *meaning);
    let all = || words.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ");
    known.ok_or_else(|| format!("it cannot be {word:?} (it can be {})", all()))
}

impl FromWord for Compress {
    fn from_word(word: &str) -> Result<Self, String> {
        choice(word, &Self::WORDS)
    }
}

impl FromWord for OnFull {
    fn from_word(word: &str) -> Result<Self, String> {
        choice(word, &Self::WORDS)
    }
}

impl FromWord for Forward {
    fn from_word(word: &str) -> Result<Self, String> {
        let help = "journal, syslog, \"syslog:udp://HOST:PORT\", \"syslog:tcp://HOST:PORT\"";
        Self::parse(word).ok_or_else(|| format!("cannot forward to {word:?} (it can be {help})"))
    }
}

impl<'de, T: FromWord> Deserialize<'de> for Word<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        T::from_word(&word).map(Self).map_err(serde::de::Error::custom)
    }
}

/// What units refuse too.
pub(super) fn log_faults(log: &LogSpec) -> Vec<Fault> {
    let wrong_key = |key, message: String| Fault::from(message).within(key).within("log");
    let sizes = [
        ("segment_size", log.segment_size, SEGMENT_BYTES),
        ("total_size", log.total_size, SEGMENT_BYTES),
        ("line_max", log.line_max, LINE_BYTES),
    ];
    let wrong = sizes.into_iter().filter(|(_, size, range)| size.is_some_and(|size| !range.contains(&size.0)));
    let said = |(key, _, range): (&'static str, _, RangeInclusive<u64>)| {
        let (least, most) = (ByteSize(*range.start()), ByteSize(*range.end()));
        wrong_key(key, format!("[log] {key} must be from {least} to {most}"))
    };
    let keep = (log.keep == Some(0)).then(|| wrong_key("keep", "[log] keep must be at least 1".to_owned()));
    wrong.map(said).chain(keep).collect()
}
