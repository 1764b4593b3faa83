use super::{
    value::{extend, put},
    walk::{Key, Value, Walk},
};
use crate::{
    base::TimeSpan,
    unit::{
        calendar::{CalendarSpec, Cron},
        draft::{Draft, TimerDraft},
    },
};

/// `[timer]`, as systemd.timer(5) has it; `cron` is ours.
pub(super) const TIMER: &[Key<Draft>] = &[
    Key { name: "accuracy_sec", set: |d, w, v| put(&mut timer(d).spec.accuracy, w.span(v)) },
    Key { name: "cron", set: |d, w, v| extend(&mut timer(d).cron, w, v, cron) },
    Key { name: "fixed_random_delay", set: |d, w, v| put(&mut timer(d).spec.fixed_random_delay, w.boolean(v)) },
    Key { name: "on_active_sec", set: |d, w, v| extend(&mut timer(d).on_active, w, v, span) },
    Key { name: "on_boot_sec", set: |d, w, v| extend(&mut timer(d).on_boot, w, v, span) },
    Key { name: "on_calendar", set: |d, w, v| extend(&mut timer(d).on_calendar, w, v, calendar) },
    Key { name: "on_clock_change", set: |d, w, v| put(&mut timer(d).spec.on_clock_change, w.boolean(v)) },
    Key { name: "on_startup_sec", set: |d, w, v| extend(&mut timer(d).on_startup, w, v, span) },
    Key { name: "on_timezone_change", set: |d, w, v| put(&mut timer(d).spec.on_timezone_change, w.boolean(v)) },
    Key { name: "on_unit_active_sec", set: |d, w, v| extend(&mut timer(d).on_unit_active, w, v, span) },
    Key { name: "on_unit_inactive_sec", set: |d, w, v| extend(&mut timer(d).on_unit_inactive, w, v, span) },
    Key { name: "persistent", set: |d, w, v| put(&mut timer(d).spec.persistent, w.boolean(v)) },
    Key { name: "randomized_delay_sec", set: |d, w, v| put(&mut timer(d).spec.randomized_delay, w.span(v)) },
    Key { name: "remain_after_elapse", set: |d, w, v| put(&mut timer(d).spec.remain_after_elapse, w.boolean(v)) },
    Key { name: "unit", set: unit },
];

/// The timer of the draft; the table alone makes one.
pub(super) fn timer(draft: &mut Draft) -> &mut TimerDraft {
    draft.timer.get_or_insert_default()
}

fn unit(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    let place = walk.place(value.span().start);
    if let Some(name) = walk.unit_name(value) {
        timer(draft).unit = Some((name, place));
    }
}

fn span(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<TimeSpan> {
    walk.span(value)
}

fn calendar(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<CalendarSpec> {
    let event = walk.text(value)?.parse::<CalendarSpec>();
    if let Err(error) = &event {
        walk.error(value, error.to_string(), Some(error.help().to_owned()));
    }
    event.ok()
}

fn cron(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Cron> {
    let line = walk.text(value)?.parse::<Cron>();
    if let Err(error) = &line {
        walk.error(value, error.to_string(), Some(error.help.to_owned()));
    }
    line.ok()
}
