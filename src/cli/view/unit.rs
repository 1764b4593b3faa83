//! `list`, `cat`, `show`, `deps` and `reload-config`.

use std::{cmp::Ordering, fmt::Write};

use super::state::State;
use crate::{
    cli::{
        screen::{BAD, CARE, FAINT, GOOD, PLAIN, STRONG, Screen, columns, many_lines, one_line},
        table::{Align, Cell, Column, Room, render},
    },
    wire::v1::{Daemon, Dependencies, Properties, Reloaded, Unit, UnitFiles, Units},
};

const LIST: [Column; 6] = [
    Column { title: " ", align: Align::Left, room: Room::Keep },
    Column { title: "NAME", align: Align::Left, room: Room::Keep },
    Column { title: "STATE", align: Align::Left, room: Room::Keep },
    Column { title: "ENABLED", align: Align::Left, room: Room::Drop(1) },
    Column { title: "TYPE", align: Align::Left, room: Room::Drop(0) },
    Column { title: "DESCRIPTION", align: Align::Left, room: Room::Cut },
];

/// What units there are.
pub(crate) fn list(screen: &Screen, units: &Units) -> String {
    let rows: Vec<Vec<Cell<'_>>> = units
        .units
        .iter()
        .map(|unit| {
            let state = State::of(unit);
            vec![
                Cell::styled(state.mark().to_owned(), state.style()),
                Cell::plain(one_line(&unit.name)),
                Cell::styled(state.in_words(), state.style()),
                Cell::plain(if unit.enabled { "yes" } else { "no" }),
                Cell::plain(one_line(&kind(unit))),
                Cell::plain(one_line(&unit.description)),
            ]
        })
        .collect();
    render(screen, &LIST, &rows)
}

/// `oneshot, timer`: the daemon does not start it, its timer does.
fn kind(unit: &Unit) -> String {
    if unit.timer.is_some() { format!("{}, timer", unit.kind) } else { unit.kind.clone() }
}

/// Names only, one a line.
pub(crate) fn names(_: &Screen, units: &Units) -> String {
    units.units.iter().map(|unit| format!("{}\n", one_line(&unit.name))).collect()
}

/// The files one after the other, each under its path.
pub(crate) fn files(screen: &Screen, files: &UnitFiles) -> String {
    let shown = files.files.iter().map(|file| {
        let heading = screen.paint(STRONG, &format!("# {}", one_line(&file.path)));
        let text = if screen.terminal { many_lines(&file.text) } else { file.text.clone() };
        format!("{heading}\n{}\n", text.trim_end_matches('\n'))
    });
    shown.collect::<Vec<_>>().join("\n")
}

/// `Name=value`, a line each.
pub(crate) fn properties(_: &Screen, properties: &Properties) -> String {
    properties.properties.iter().map(|(name, value)| format!("{}={}\n", one_line(name), one_line(value))).collect()
}

/// The unit, and under each relation the others with their state.
pub(crate) fn dependencies(screen: &Screen, dependencies: &Dependencies) -> String {
    let mut out = format!("{}\n", screen.paint(STRONG, &one_line(&dependencies.unit)));
    let relations = &dependencies.relations;
    let width = |pick: fn(&(String, String, String)) -> &String| {
        relations.iter().map(|relation| columns(&one_line(pick(relation)))).max().unwrap_or(0)
    };
    let (relation_width, unit_width) = (width(|relation| &relation.0), width(|relation| &relation.1));
    for (index, (relation, unit, active)) in relations.iter().enumerate() {
        let joint = match (index + 1).cmp(&relations.len()) {
            Ordering::Equal => "└─",
            Ordering::Less | Ordering::Greater => "├─",
        };
        let again = index > 0 && relations[index - 1].0 == *relation;
        let relation = if again { String::new() } else { one_line(&relation.replace('_', " ")) };
        let style = match active.as_str() {
            "active" => GOOD,
            "failed" | "not-loaded" => BAD,
            "inactive" => PLAIN,
            _ => CARE,
        };
        let unit = one_line(unit);
        writeln!(
            out,
            "{} {relation:relation_width$}  {unit:unit_width$}  {}",
            screen.paint(FAINT, joint),
            screen.paint(style, &one_line(active))
        )
        .ok();
    }
    if relations.is_empty() {
        out.push_str("It needs no other unit, and no other unit needs it.\n");
    }
    out
}

/// What a reload brought.
pub(crate) fn reloaded(_: &Screen, reloaded: &Reloaded) -> String {
    let what = match reloaded.status.as_str() {
        "reloaded" => "Reloaded",
        "unchanged" => "Nothing has changed",
        other => other,
    };
    let noun = if reloaded.units == 1 { "unit" } else { "units" };
    let mut out = format!("{what}: {} {noun}, revision {}.\n", reloaded.units, reloaded.revision);
    if reloaded.instances_notified > 0 {
        writeln!(out, "Acknowledged by {}: {}.", reloaded.instances_notified, reloaded.instances.join(", ")).ok();
    }
    if !reloaded.needs_restart.is_empty() {
        let keys = reloaded.needs_restart.join(", ");
        writeln!(out, "Changed in roundsman.toml, holds once supervisord was stopped and started: {keys}.").ok();
    }
    many_lines(&out)
}

/// `upgrade`, when it came about.
pub(crate) fn upgraded(before: &Daemon, after: &Daemon) -> String {
    many_lines(&format!(
        "supervisord {} ({}) took over from {} ({}).\n",
        after.version, after.program, before.version, before.program
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::view::fixtures::{NOW_US, units},
        wire::v1::UnitFile,
    };

    #[test]
    fn units_are_listed() {
        insta::assert_snapshot!(list(&Screen::page(NOW_US), &units()));
        assert_eq!(names(&Screen::page(NOW_US), &units()), "backup\nmigrate\nredis\nupload\nweb\nworker\n");
    }

    #[test]
    fn files_stand_under_their_paths() {
        let file = |path: &str, text: &str| UnitFile { path: path.into(), text: text.into() };
        let both = UnitFiles {
            files: vec![file("/u/web.toml", "[unit]\na = \"\x1b[2J\"\n\n"), file("/u/web.toml.d/x.toml", "[service]")],
        };
        insta::assert_snapshot!(files(&Screen::of_width(80, 0), &both), @r#"
        # /u/web.toml
        [unit]
        a = "\x1b[2J"

        # /u/web.toml.d/x.toml
        [service]
        "#);
        assert!(files(&Screen::page(0), &both).contains("a = \"\x1b[2J\""), "a pipe gets the file as it is");
    }

    #[test]
    fn relations_are_grouped() {
        let relation =
            |relation: &str, unit: &str, active: &str| (relation.to_owned(), unit.to_owned(), active.to_owned());
        let relations = vec![
            relation("requires", "redis", "active"),
            relation("requires", "postgres", "not-loaded"),
            relation("wanted_by", "site", "inactive"),
        ];
        insta::assert_snapshot!(dependencies(&Screen::page(0), &Dependencies { unit: "web".into(), relations }), @r"
        web
        ├─ requires   redis     active
        ├─            postgres  not-loaded
        └─ wanted by  site      inactive
        ");
    }

    #[test]
    fn a_reload_says_what_is_in_force() {
        let answer = |status: &str| Reloaded {
            status: status.into(),
            revision: "r12".into(),
            timestamp: 0,
            instances_notified: 2,
            instances: vec!["vm1".into(), "vm2".into()],
            units: 42,
            needs_restart: vec!["[log]".into()],
        };
        insta::assert_snapshot!(reloaded(&Screen::page(0), &answer("reloaded")), @r"
        Reloaded: 42 units, revision r12.
        Acknowledged by 2: vm1, vm2.
        Changed in roundsman.toml, holds once supervisord was stopped and started: [log].
        ");
        assert!(reloaded(&Screen::page(0), &answer("unchanged")).starts_with("Nothing has changed: 42 units"));
    }
}
