//! In which order messages that wait are sent.

use std::collections::BTreeSet;

use crate::{alert::Message, base::Severity, edge::store::OutboxRow};

/// What is critical before what is not: a crowd of warnings takes its time. Messages about one thing stay in their order:
/// the end of an incident must not end the next one, which receivers know by the same key.
pub(super) fn graver_first(mut waiting: Vec<OutboxRow>) -> Vec<OutboxRow> {
    // A page is long, and most have none.
    let may_be_critical = |row: &OutboxRow| row.payload.contains("\"severity\":\"critical\"");
    if !waiting.iter().any(may_be_critical) {
        return waiting;
    }
    // One that cannot be read is refused when its turn comes.
    let read = |row: &OutboxRow| Message::from_json(&row.payload).ok();
    let is_critical = |message: &Message| message.severity == Severity::Critical.as_str();
    let critical: BTreeSet<String> = waiting
        .iter()
        .filter(|row| may_be_critical(row))
        .filter_map(read)
        .filter(is_critical)
        .map(|message| message.thing())
        .collect();
    // Stable, and false comes before true.
    waiting.sort_by_cached_key(|row| !read(row).is_some_and(|message| critical.contains(&message.thing())));
    waiting
}
