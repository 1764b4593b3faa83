use super::{
    value::{extend, items, put},
    walk::{Key, LIST_ITEMS_MAX, Value, Walk},
};
use crate::{
    base::UnitName,
    unit::{
        diag::Place,
        draft::{Draft, Relation, RelationKind},
        spec::EmergencyAction,
    },
};

/// `[unit]`
pub(super) const UNIT: &[Key<Draft>] = &[
    Key { name: "after", set: |d, w, v| relations(d, w, v, RelationKind::After) },
    Key { name: "after_healthy", set: |d, w, v| relations(d, w, v, RelationKind::AfterHealthy) },
    Key { name: "before", set: |d, w, v| relations(d, w, v, RelationKind::Before) },
    Key { name: "binds_to", set: |d, w, v| relations(d, w, v, RelationKind::BindsTo) },
    Key { name: "conflicts", set: |d, w, v| relations(d, w, v, RelationKind::Conflicts) },
    Key { name: "description", set: |d, w, v| put(&mut d.def.description, w.line(v).map(Into::into)) },
    Key { name: "documentation", set: |_, w, v| documentation(w, v) },
    Key { name: "failure_action", set: |d, w, v| put(&mut d.def.actions.failure, w.choice(v, ACTIONS).map(Some)) },
    Key {
        name: "failure_action_exit_status",
        set: |d, w, v| put(&mut d.def.actions.failure_status, exit_status(w, v)),
    },
    Key { name: "on_failure", set: |d, w, v| relations(d, w, v, RelationKind::OnFailure) },
    Key { name: "on_success", set: |d, w, v| relations(d, w, v, RelationKind::OnSuccess) },
    Key { name: "part_of", set: |d, w, v| relations(d, w, v, RelationKind::PartOf) },
    Key { name: "requires", set: |d, w, v| relations(d, w, v, RelationKind::Requires) },
    Key { name: "start_limit_action", set: |d, w, v| put(&mut d.def.start_limit.action, w.choice(v, ACTIONS)) },
    Key { name: "start_limit_burst", set: |d, w, v| put(&mut d.def.start_limit.burst, w.count(v, 0)) },
    Key { name: "start_limit_interval_sec", set: |d, w, v| put(&mut d.def.start_limit.interval, w.span(v)) },
    Key { name: "success_action", set: |d, w, v| put(&mut d.def.actions.success, w.choice(v, ACTIONS).map(Some)) },
    Key {
        name: "success_action_exit_status",
        set: |d, w, v| put(&mut d.def.actions.success_status, exit_status(w, v)),
    },
    Key { name: "wants", set: |d, w, v| relations(d, w, v, RelationKind::Wants) },
];

/// `[install]`
pub(super) const INSTALL: &[Key<Draft>] = &[
    Key { name: "enabled", set: |d, w, v| put(&mut d.enabled, w.boolean(v).map(Some)) },
    Key { name: "instances", set: |d, w, v| extend(&mut d.instances, w, v, instance) },
    Key { name: "required_by", set: |d, w, v| extend(&mut d.required_by, w, v, named) },
    Key { name: "wanted_by", set: |d, w, v| extend(&mut d.wanted_by, w, v, named) },
];

/// What stands behind the @ of an instance's name.
fn instance(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<(Box<str>, Place)> {
    let text = walk.text(value)?;
    if let Err(error) = UnitName::new(&format!("x@{text}")) {
        walk.error(value, error.to_string(), None);
        return None;
    }
    Some((text.into(), walk.place(value.span().start)))
}

fn named(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<(UnitName, Place)> {
    let name = walk.unit_name(value)?;
    Some((name, walk.place(value.span().start)))
}

/// systemd's `reboot`, `poweroff`, `halt` and the rest are the machine's init system's.
const ACTIONS: &[(&str, EmergencyAction)] =
    &[("none", EmergencyAction::None), ("exit", EmergencyAction::Exit), ("exit-force", EmergencyAction::ExitForce)];

/// 0 to 255; an empty text is the main process' own again.
fn exit_status(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Option<u8>> {
    if value.get_ref().as_str() == Some("") {
        return Some(None);
    }
    let status = walk.integer(value, 0..=255)?;
    u8::try_from(status).ok().map(Some)
}

/// For people who read the file; nothing depends on it.
fn documentation(walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    let mut unused: Vec<()> = Vec::new();
    extend(&mut unused, walk, value, |walk, item| walk.line(item).map(|_| ()));
}

/// Relations are only ever added: like systemd we do not let a drop-in take one away.
fn relations(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>, kind: RelationKind) {
    let items = items(value);
    let resets = items.iter().find(|item| item.get_ref().as_str() == Some(""));
    let empty_dropin = (walk.dropin && items.is_empty()).then_some(value);
    if let Some(place) = resets.or(empty_dropin) {
        let help = "change the list where it is written".to_owned();
        walk.error(place, format!("{:?} cannot be reset, only added to (as in systemd)", walk.key), Some(help));
        return;
    }
    if items.len() > LIST_ITEMS_MAX {
        walk.error(value, format!("{:?} has more than {LIST_ITEMS_MAX} entries", walk.key), None);
        return;
    }
    for item in items {
        if let Some(name) = walk.unit_name(item) {
            let place = walk.place(item.span().start);
            draft.relations.push(Relation { kind, name, place });
        }
    }
}
