//! What holds for one unit's output: its own `[log]`, the daemon's, and defaults.

use crate::{
    base::{ByteSize, TimeSpan, UnitName},
    unit::{
        UnitDef,
        spec::{Compress, Forward, LogSpec, OnFull, SyslogSpec},
    },
};

/// How a unit's output is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    pub(super) segment_size: u64,
    pub(super) segment_age: TimeSpan,
    pub(super) keep: usize,
    pub(super) total_size: u64,
    pub(super) retention: TimeSpan,
    pub(super) compress: Compress,
    pub(super) rate: Option<Rate>,
    pub(super) on_full: OnFull,
    pub(super) forward: Vec<Forward>,
    pub(super) line_max: usize,
    pub(super) syslog: SyslogSpec,
}

/// So many lines in so long; more are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) interval: TimeSpan,
    pub(super) burst: u32,
}

const SEGMENT_SIZE_DEFAULT: ByteSize = ByteSize(16 << 20);
const KEEP_DEFAULT: u32 = 8;
/// The longest line in one piece.
pub const LINE_MAX_DEFAULT: ByteSize = ByteSize(64 << 10);
/// journald's own, where a unit gives only one of the two.
const RATE_INTERVAL_DEFAULT: TimeSpan = TimeSpan::from_secs(30);
const RATE_BURST_DEFAULT: u32 = 10_000;

impl Rules {
    /// For a unit whose `[log]` is `own`, under a daemon whose is `daemon`.
    pub fn of(name: &UnitName, def: Option<&UnitDef>, daemon: &LogSpec) -> Self {
        let nothing = LogSpec::default();
        let own = def.map_or(&nothing, |def| &*def.log);
        let program = def.and_then(|def| def.service.exec_start.first()).map(|command| &*command.program);
        let mut syslog = own.syslog.clone();
        let identifier = || program.and_then(|path| path.rsplit('/').next()).unwrap_or(name.as_str()).into();
        syslog.identifier.get_or_insert_with(identifier);
        Self {
            segment_size: own.segment_size.or(daemon.segment_size).unwrap_or(SEGMENT_SIZE_DEFAULT).0,
            segment_age: own.segment_age.or(daemon.segment_age).unwrap_or(TimeSpan::INFINITY),
            keep: own.keep.or(daemon.keep).unwrap_or(KEEP_DEFAULT) as usize,
            total_size: own.total_size.or(daemon.total_size).map_or(u64::MAX, |size| size.0),
            retention: own.retention.or(daemon.retention).unwrap_or(TimeSpan::INFINITY),
            compress: own.compress.or(daemon.compress).unwrap_or_default(),
            rate: rate(own, daemon),
            on_full: own.on_full.or(daemon.on_full).unwrap_or_default(),
            forward: own.forward.as_ref().or(daemon.forward.as_ref()).cloned().unwrap_or_default(),
            line_max: line_max(def, daemon),
            syslog,
        }
    }
}

/// The longest line of a unit that is given in one piece.
pub fn line_max(def: Option<&UnitDef>, daemon: &LogSpec) -> usize {
    let size = def.and_then(|def| def.log.line_max).or(daemon.line_max).unwrap_or(LINE_MAX_DEFAULT);
    usize::try_from(size.0).unwrap_or(usize::MAX)
}

fn rate(own: &LogSpec, daemon: &LogSpec) -> Option<Rate> {
    let interval = own.rate_limit_interval.or(daemon.rate_limit_interval);
    let burst = own.rate_limit_burst.or(daemon.rate_limit_burst);
    if interval.is_none() && burst.is_none() {
        return None;
    }
    let rate = Rate { interval: interval.unwrap_or(RATE_INTERVAL_DEFAULT), burst: burst.unwrap_or(RATE_BURST_DEFAULT) };
    (!rate.interval.is_zero() && rate.burst > 0).then_some(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_units_own_word_comes_before_the_daemons_and_that_before_the_default() {
        let name = UnitName::new("web").expect("a name");
        let mut def = UnitDef::new(name.clone());
        let daemon = LogSpec { keep: Some(3), rate_limit_burst: Some(100), ..LogSpec::default() };
        assert_eq!(Rules::of(&name, None, &LogSpec::default()).keep, 8);
        assert_eq!(Rules::of(&name, Some(&def), &daemon).keep, 3);
        let rate = Rate { interval: TimeSpan::from_secs(30), burst: 100 };
        assert_eq!(Rules::of(&name, Some(&def), &daemon).rate, Some(rate));
        def.log.keep = Some(2);
        def.log.rate_limit_burst = Some(0);
        assert_eq!((Rules::of(&name, Some(&def), &daemon).keep, Rules::of(&name, Some(&def), &daemon).rate), (2, None));
    }

    #[test]
    fn lines_are_marked_with_the_programs_name_unless_the_unit_gives_one() {
        let name = UnitName::new("web").expect("a name");
        let identifier = |def: Option<&UnitDef>| Rules::of(&name, def, &LogSpec::default()).syslog.identifier;
        assert_eq!(identifier(None).as_deref(), Some("web"));
        let mut def = UnitDef::new(name.clone());
        def.log.syslog.identifier = Some("front".into());
        assert_eq!(identifier(Some(&def)).as_deref(), Some("front"));
    }
}
