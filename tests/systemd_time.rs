//! Calendar events and time spans mean what systemd says they mean: thousands of them are given to `systemd-analyze` too.
//!
//! What differs from systemd 252, and is therefore not generated:
//! - The abbreviations of the machine's own zone ("12:00 CEST") are refused. In systemd they mean "only while that half
//!   of the year lasts", which nobody means; the zone's name says what is meant.
//! - Years are written with digits alone: systemd takes "@ 5" and "@+5", as strtoul(3) does.
//! - A zone after "@" is refused: systemd takes one and then ignores it.
//! - In a list of days from the month's end ("*~01,28") systemd takes three days off the limit with each further entry, a
//!   slip of its recursion.
//! - Where a step leads out of its hour, month and so on, systemd 252 goes on from where it would have led to and passes
//!   over what comes before that: "*-*-02/11" has no 2nd of January, because 24 + 11 in December is the 4th of January.
//!   Later versions have repaired this. So each of its elapses has to be one of ours, in their order.
//!   In zones whose clock is set it may even go round in a circle then, which it notices after 1000 steps and says so.
//! - Every second and some fractions of one ("0/1,0.5") are written so, where systemd writes "*".
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test stops where it fails, and asks another program"
)]

use std::{
    fmt::Write as _,
    process::{Command, Stdio},
};

use roundsman::{
    base::{Rng, TimeSpan, Wall},
    unit::calendar::{CalendarSpec, Zone, ZoneName, Zones},
};

/// Expressions of one call.
const BATCH: usize = 250;
/// Elapses that are compared of each expression.
const ITERATIONS: usize = 4;

/// What `systemd-analyze calendar` says when its search goes round in a circle, and how that is noted here.
const NO_ELAPSE: &str = "Failed to determine next elapse for ";
const GONE_ROUND: &str = "gone round";

/// Runs `systemd-analyze`; what it prints, and what it complains of.
fn analyze(zone: &str, arguments: &[String]) -> (String, String) {
    let output = Command::new("systemd-analyze")
        .args(arguments)
        .env("TZ", zone)
        .env("LC_ALL", "C.UTF-8")
        .env("SYSTEMD_COLORS", "0")
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot run systemd-analyze (scripts/test installs it): {error}"));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    (text(&output.stdout), text(&output.stderr))
}

/// What systemd says of each text, in their order; `None` where it refuses one.
fn ask(zone: &str, verb: &[String], texts: &[String], refusal: &str) -> Vec<Option<String>> {
    let mut answers: Vec<Option<String>> = Vec::new();
    // Some verbs stop at the first text that they refuse.
    while answers.len() < texts.len() {
        let arguments = verb.iter().cloned().chain(["--".to_owned()]).chain(texts[answers.len()..].iter().cloned());
        let (out, complaints) = analyze(zone, &arguments.collect::<Vec<_>>());
        let mut refused = complaints.lines().filter_map(|line| line.strip_prefix(refusal)).peekable();
        let mut lost = complaints.lines().filter_map(|line| line.strip_prefix(NO_ELAPSE)).peekable();
        let mut blocks = out.trim_end().split("\n\n").filter(|block| !block.is_empty());
        let before = answers.len();
        for text in &texts[before..] {
            if refused.next_if(|line| line.starts_with(&format!("'{text}': "))).is_some() {
                answers.push(None);
            } else if lost.next_if(|line| line.starts_with(&format!("'{text}': "))).is_some() {
                answers.push(Some(GONE_ROUND.to_owned()));
            } else if let Some(block) = blocks.next() {
                let original = block.trim_start().strip_prefix("Original").and_then(|rest| rest.split_once(':'));
                let original = original.and_then(|(_, rest)| rest.lines().next());
                assert!(
                    original.is_none_or(|said| said.trim() == text.trim()),
                    "{text:?} is answered with {block}\n{complaints}"
                );
                answers.push(Some(block.to_owned()));
            } else {
                break;
            }
        }
        assert!(answers.len() > before, "no answer to {:?}: {out}{complaints}", texts[before]);
        assert_eq!((blocks.next(), refused.next(), lost.next()), (None, None, None), "{complaints}");
    }
    answers
}

fn zone(name: &str) -> Zone {
    Zone::new(jiff::tz::TimeZone::get(name).unwrap())
}

/// The zone that a text names, if there is such a one.
fn named(text: &str) -> Option<(Box<str>, Zone)> {
    let ZoneName::Named(name) = text.parse::<CalendarSpec>().ok()?.zone().clone() else { return None };
    let found = jiff::tz::TimeZone::get(&name).ok().filter(|found| found.iana_name() == Some(&*name))?;
    Some((name, Zone::new(found)))
}

/// How systemd's answer would read if it were ours.
fn ours(text: &str, base: i64, zones: &Zones, iterations: usize) -> Option<Vec<String>> {
    let spec: CalendarSpec = text.parse().ok()?;
    // Whether a zone exists is asked of the host.
    if matches!(spec.zone(), ZoneName::Named(name) if !zones.named.contains_key(name)) {
        return None;
    }
    let mut said = vec![spec.to_string()];
    let mut at = Wall(base * 1_000_000);
    for _ in 0..iterations {
        let Some(next) = spec.next(at, zones) else { break };
        said.push(jiff::Timestamp::from_second(next.0.div_euclid(1_000_000)).unwrap().to_string());
        at = next;
    }
    Some(said)
}

/// The normal form and the elapses in UTC that an answer names.
fn theirs(answer: &str, local_is_utc: bool) -> Vec<String> {
    let value = |line: &str, label: &str| line.trim_start().strip_prefix(label).map(|rest| rest.trim().to_owned());
    let mut said: Vec<String> = answer.lines().filter_map(|line| value(line, "Normalized form:")).collect();
    for line in answer.lines() {
        let elapse = value(line, "(in UTC):").or_else(|| {
            let label = line.trim_start().starts_with("Next elapse:") || line.trim_start().starts_with("Iter. #");
            (label && local_is_utc).then(|| line.split_once(": ").map(|(_, at)| at.trim().to_owned())).flatten()
        });
        // "Mon 2026-03-30 00:30:00 UTC"
        if let Some(words) = elapse.as_deref().filter(|text| *text != "never").map(|text| text.split(' ')) {
            let words: Vec<&str> = words.collect();
            said.push(format!("{}T{}Z", words[1], words[2]));
        }
    }
    said
}

/// Whether every elapse of theirs is one of ours, and the normal form is the same.
fn is_among(theirs: Option<&[String]>, text: &str, base: i64, zones: &Zones) -> bool {
    let (Some(theirs), Some(ours)) = (theirs, ours(text, base, zones, 1000)) else { return false };
    let mut left = ours.iter();
    ours.first() == theirs.first() && theirs.iter().all(|elapse| left.any(|other| other == elapse))
}

fn compare(zone_name: &str, base: i64, texts: &[String]) -> usize {
    let zones = Zones { local: zone(zone_name), named: texts.iter().filter_map(|text| named(text)).collect() };
    let verb = ["calendar".to_owned(), format!("--iterations={ITERATIONS}"), format!("--base-time=@{base}")];
    let answers = ask(zone_name, &verb, texts, "Failed to parse calendar specification ");
    let (mut wrong, mut oversteps) = (String::new(), 0);
    for (text, answer) in texts.iter().zip(&answers) {
        let theirs = answer.as_deref().map(|answer| theirs(answer, zone_name == "UTC"));
        let ours = ours(text, base, &zones, ITERATIONS);
        let is_slip = theirs.is_none() && text.contains('~') && text.contains(',');
        let is_zoned_timestamp = ours.is_none() && text.contains('@') && text.contains(' ');
        let has_gone_round = answer.as_deref() == Some(GONE_ROUND);
        let is_overstep = has_gone_round && ours.is_some() && text.contains('/')
            || text.contains('/') && is_among(theirs.as_deref(), text, base, &zones);
        oversteps += usize::from(ours != theirs && is_overstep);
        if ours != theirs && !is_slip && !is_overstep && !is_zoned_timestamp {
            writeln!(wrong, "TZ={zone_name} --base-time=@{base} {text:?}\n  systemd {theirs:?}\n  ours    {ours:?}")
                .unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(oversteps * 10 <= texts.len(), "{oversteps} of {} are excused", texts.len());
    answers.iter().flatten().count()
}

/// Makes texts that are mostly right.
struct Writer(Rng);

impl Writer {
    fn pick<'t>(&mut self, from: &[&'t str]) -> &'t str {
        from[usize::try_from(self.0.below(from.len() as u64)).unwrap()]
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.0.below(chances) == 0
    }

    fn number(&mut self, least: u64, most: u64) -> String {
        // Now and then one too many.
        let most = if self.one_in(40) { most + 3 } else { most };
        let number = least + self.0.below(most - least + 1);
        if self.one_in(3) { format!("{number:02}") } else { number.to_string() }
    }

    fn component(&mut self, least: u64, most: u64, fraction: bool) -> String {
        let number = |writer: &mut Self, least: u64| {
            let mut number = writer.number(least, most);
            if fraction && writer.one_in(3) {
                let length = u32::try_from(1 + writer.0.below(8)).unwrap();
                let digits = writer.0.below(10_u64.pow(length));
                write!(number, ".{digits}").unwrap();
            }
            number
        };
        let mut text = number(self, least);
        if self.one_in(4) {
            let begin = text.split('.').next().and_then(|begin| begin.parse().ok()).unwrap_or(least).min(most);
            write!(text, "..{}", number(self, begin)).unwrap();
        }
        if self.one_in(5) {
            let step = 1 + self.0.below((most - least).div_ceil(2));
            write!(text, "/{step}").unwrap();
            if fraction && self.one_in(3) {
                text.push_str(".25");
            }
        }
        text
    }

    fn chain(&mut self, least: u64, most: u64, any_in: u64, fraction: bool) -> String {
        if self.one_in(any_in) {
            return "*".to_owned();
        }
        let mut text = self.component(least, most, fraction);
        while self.one_in(4) {
            write!(text, ",{}", self.component(least, most, fraction)).unwrap();
        }
        text
    }

    fn weekdays(&mut self) -> String {
        const DAYS: [&str; 12] =
            ["Mon", "tue", "Wed", "THU", "Fri", "sat", "Sun", "Monday", "Wednesday", "friday", "Saturday", "SUNDAY"];
        let mut text = self.pick(&DAYS).to_owned();
        while self.one_in(2) {
            text.push_str(self.pick(&[",", ",", "..", "-"]));
            text.push_str(self.pick(&DAYS));
        }
        if self.one_in(12) {
            text.push_str(self.pick(&[",", "..", "x"]));
        }
        text
    }

    fn date(&mut self) -> String {
        let from_end = self.one_in(5);
        let joint = if from_end { "~" } else { "-" };
        let day = self.chain(1, if from_end { 28 } else { 31 }, 2, false);
        let month = self.chain(1, 12, 2, false);
        match self.0.below(5) {
            0 => format!("{month}{joint}{day}"),
            1 => format!("{}-{month}{joint}{day}", self.chain(2023, 2040, 3, false)),
            2 => format!("{}-{month}{joint}{day}", self.number(0, 99)),
            _ => format!("*-{month}{joint}{day}"),
        }
    }

    fn time(&mut self) -> String {
        let (hour, minute) = (self.chain(0, 23, 3, false), self.chain(0, 59, 4, false));
        if self.one_in(2) {
            format!("{hour}:{minute}")
        } else {
            format!("{hour}:{minute}:{}", self.chain(0, 59, 4, true))
        }
    }

    fn event(&mut self) -> String {
        const NAMES: [&str; 13] = [
            "minutely",
            "hourly",
            "daily",
            "Weekly",
            "monthly",
            "quarterly",
            "semiannually",
            "biannually",
            "yearly",
            "annually",
            "bi-annually",
            "semi-annually",
            "fortnightly",
        ];
        const ZONES: [&str; 6] =
            ["UTC", "utc", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"];
        let mut parts: Vec<String> = Vec::new();
        if self.one_in(20) {
            parts.push(self.pick(&NAMES).to_owned());
        } else if self.one_in(40) {
            parts.push(format!("@{}", self.0.below(9_000_000_000)));
        } else {
            let kinds = 1 + self.0.below(7);
            parts.extend((kinds & 1 != 0 && self.one_in(2)).then(|| self.weekdays()));
            parts.extend((kinds & 2 != 0).then(|| self.date()));
            parts.extend((kinds & 4 != 0).then(|| self.time()));
        }
        parts.extend(self.one_in(4).then(|| self.pick(&ZONES).to_owned()));
        let mut text = parts.join(" ");
        if self.one_in(15) && text.len() > 1 {
            // A slip of the finger.
            let at = usize::try_from(self.0.below(text.len() as u64)).unwrap();
            match self.0.below(3) {
                0 => drop(text.remove(at)),
                1 => text.insert_str(at, self.pick(&["*", ".", "..", "/", "-", "~", ":", ",", " ", "0", "@"])),
                _ => text.truncate(at),
            }
        }
        text
    }

    fn span(&mut self) -> String {
        const UNITS: [&str; 33] = [
            "", "", "seconds", "second", "sec", "s", "minutes", "minute", "min", "months", "month", "M", "msec", "ms",
            "m", "hours", "hour", "hr", "h", "days", "day", "d", "weeks", "week", "w", "years", "year", "y", "usec",
            "us", "µs", "μs", "parsec",
        ];
        let mut text = String::new();
        for _ in 0..=self.0.below(3) {
            text.push_str(self.pick(&["", "", " ", "+", "\t"]));
            let digits = self.0.below(20);
            let number = self.0.next_u64() % 10_u64.pow(u32::try_from(digits).unwrap());
            write!(text, "{number}").unwrap();
            if self.one_in(3) {
                write!(text, ".{}", self.0.below(100_000_000)).unwrap();
            }
            text.push_str(self.pick(&["", "", " "]));
            text.push_str(self.pick(&UNITS));
            text.push_str(self.pick(&["", " "]));
        }
        if self.one_in(10) {
            let at = usize::try_from(self.0.below(text.len() as u64)).unwrap();
            if text.is_char_boundary(at) {
                text.insert_str(at, self.pick(&[".", "-", "+", " ", "x", "infinity"]));
            }
        }
        text
    }
}

fn is_comparable(text: &str) -> bool {
    // What the head of this file excepts.
    !text.contains("@ ") && !text.contains("@+")
}

#[test]
fn calendar_events_mean_what_systemd_says() {
    let mut writer = Writer(Rng::new(0x5eed));
    let mut understood = 0;
    for round in 0_i64..16 {
        let zone =
            ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"][usize::try_from(round % 4).unwrap()];
        let base = 1_760_000_000 + round * 3_333_333;
        let texts: Vec<String> =
            std::iter::from_fn(|| Some(writer.event())).filter(|text| is_comparable(text)).take(BATCH).collect();
        understood += compare(zone, base, &texts);
    }
    assert!(understood > 16 * BATCH / 2, "only {understood} were well formed");
}

#[test]
fn the_clock_is_set_as_in_systemd() {
    let texts =
        ["02:30", "02:00", "*:0/20", "*:*:0/30", "hourly", "daily", "00:30", "1..3:15", "02:45", "03:00", "02:10/20"];
    let texts: Vec<String> = texts.map(str::to_owned).into();
    // Spring, and autumn in both passes of the hour that is shown twice.
    for (zone, moments) in [
        ("Europe/Berlin", [1_774_742_400, 1_774_744_200, 1_792_885_800, 1_792_890_300, 1_792_893_900]),
        ("America/New_York", [1_772_952_000, 1_772_953_800, 1_793_509_200, 1_793_512_800, 1_793_516_400]),
        ("America/Santiago", [1_788_660_000, 1_788_667_000, 1_775_350_000, 1_775_357_000, 1_775_360_500]),
    ] {
        for base in moments {
            compare(zone, base, &texts);
        }
    }
}

#[test]
fn time_spans_mean_what_systemd_says() {
    let mut writer = Writer(Rng::new(0x5eed));
    let mut understood = 0;
    for _ in 0..8 {
        let texts: Vec<String> = std::iter::from_fn(|| Some(writer.span())).take(BATCH).collect();
        let answers = ask("UTC", &["timespan".to_owned()], &texts, "Failed to parse time span ");
        let mut wrong = String::new();
        for (text, answer) in texts.iter().zip(answers) {
            let value = |label: &str| {
                let line = |line: &str| line.trim_start().strip_prefix(label).map(|rest| rest.trim().to_owned());
                answer.as_deref().and_then(|answer| answer.lines().find_map(line))
            };
            let theirs = value("μs:").zip(value("Human:"));
            let ours = text.parse::<TimeSpan>().ok();
            let ours = ours.map(|span| (span.micros().unwrap_or(u64::MAX).to_string(), span.to_string()));
            if ours != theirs {
                writeln!(wrong, "{text:?}\n  systemd {theirs:?}\n  ours    {ours:?}").unwrap();
            }
            understood += usize::from(theirs.is_some());
        }
        assert!(wrong.is_empty(), "{wrong}");
    }
    assert!(understood > 8 * BATCH / 3, "only {understood} were well formed");
}
