use std::ops::RangeInclusive;

use super::{
    value::{extend, put},
    walk::{Key, Value, Walk},
};
use crate::{
    base::ByteSize,
    unit::{
        draft::Draft,
        spec::{Compress, Forward, LINE_BYTES, OnFull, SEGMENT_BYTES, SYSLOG_FACILITIES, SYSLOG_LEVELS},
    },
};

/// `[log]`
pub(super) const LOG: &[Key<Draft>] = &[
    Key { name: "compress", set: |d, w, v| put(&mut d.def.log.compress, w.choice(v, &Compress::WORDS).map(Some)) },
    Key { name: "forward", set: forward },
    Key { name: "keep", set: |d, w, v| put(&mut d.def.log.keep, w.count(v, 1).map(Some)) },
    Key { name: "line_max", set: |d, w, v| put(&mut d.def.log.line_max, size(w, v, &LINE_BYTES).map(Some)) },
    Key { name: "on_full", set: |d, w, v| put(&mut d.def.log.on_full, w.choice(v, &OnFull::WORDS).map(Some)) },
    Key { name: "rate_limit_burst", set: rate_limit_burst },
    Key { name: "rate_limit_interval_sec", set: rate_limit_interval },
    Key { name: "retention_sec", set: |d, w, v| put(&mut d.def.log.retention, w.limit_span(v).map(Some)) },
    Key { name: "segment_sec", set: |d, w, v| put(&mut d.def.log.segment_age, w.limit_span(v).map(Some)) },
    Key { name: "segment_size", set: |d, w, v| put(&mut d.def.log.segment_size, size(w, v, &SEGMENT_BYTES).map(Some)) },
    Key { name: "total_size", set: |d, w, v| put(&mut d.def.log.total_size, size(w, v, &SEGMENT_BYTES).map(Some)) },
];

/// `[service]`: what systemd.exec(5) says about logs.
pub(super) const EXEC_LOG: &[Key<Draft>] = &[
    Key { name: "log_rate_limit_burst", set: rate_limit_burst },
    Key { name: "log_rate_limit_interval_sec", set: rate_limit_interval },
    Key {
        name: "syslog_facility",
        set: |d, w, v| put(&mut d.def.log.syslog.facility, w.choice(v, &SYSLOG_FACILITIES)),
    },
    Key { name: "syslog_identifier", set: identifier },
    Key { name: "syslog_level", set: |d, w, v| put(&mut d.def.log.syslog.level, level(w, v)) },
    Key { name: "syslog_level_prefix", set: |d, w, v| put(&mut d.def.log.syslog.level_prefix, w.boolean(v)) },
];

/// RFC 5424 gives APP-NAME so many characters.
const IDENTIFIER_BYTES_MAX: usize = 48;

fn rate_limit_burst(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    put(&mut draft.def.log.rate_limit_burst, walk.count(value, 0).map(Some));
}

fn rate_limit_interval(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    put(&mut draft.def.log.rate_limit_interval, walk.span(value).map(Some));
}

fn size(walk: &mut Walk<'_, '_>, value: &Value<'_>, range: &RangeInclusive<u64>) -> Option<ByteSize> {
    let size = walk.size(value)?;
    if range.contains(&size.0) {
        return Some(size);
    }
    let message = format!("{:?} must be from {} to {}", walk.key, ByteSize(*range.start()), ByteSize(*range.end()));
    walk.error(value, message, None);
    None
}

fn forward(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    let list = draft.def.log.forward.get_or_insert_default();
    extend(list, walk, value, |walk, item| {
        let text = walk.text(item)?;
        let forward = Forward::parse(text);
        if forward.is_none() {
            let help = "it can be journal, syslog, \"syslog:udp://HOST:PORT\", \"syslog:tcp://HOST:PORT\"".to_owned();
            walk.error(item, format!("cannot forward to {text:?}"), Some(help));
        }
        forward
    });
    list.sort_unstable();
    list.dedup();
}

fn identifier(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    let Some(text) = walk.text(value) else { return };
    if text.len() > IDENTIFIER_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message =
            format!("{text:?} is no identifier (printable ASCII without blanks, up to {IDENTIFIER_BYTES_MAX} bytes)");
        walk.error(value, message, None);
        return;
    }
    draft.def.log.syslog.identifier = (!text.is_empty()).then(|| text.into());
}

/// A level by name, or by the number that it has.
fn level(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<u8> {
    if value.get_ref().is_integer() {
        return walk.integer(value, 0..=7).and_then(|number| u8::try_from(number).ok());
    }
    let words: Vec<(&str, u8)> = SYSLOG_LEVELS.into_iter().zip(0..).collect();
    walk.choice(value, &words)
}
