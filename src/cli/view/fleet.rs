//! `fleet` and `plan`: nodes, services, plans and how far they are.

use std::fmt::Write;

use crate::{
    base::counted,
    cli::{
        humane,
        screen::{BAD, CARE, FAINT, GOOD, PLAIN, STRONG, Screen, one_line},
        table::{Align, Cell, Column, Room, render},
    },
    wire::v1::{Fleet, FleetInstance, FleetNode, FleetPlan, FleetPlans, FleetQuorum, FleetTask, FleetWave, FleetWord},
};

/// Digits of an id that people are shown; commands take as many.
const ID_SHOWN: usize = 8;
/// Blocks of a bar.
const BAR: usize = 12;

fn short(id: &str) -> &str {
    id.get(..ID_SHOWN).unwrap_or(id)
}

const fn column(title: &'static str, room: Room) -> Column {
    Column { title, align: Align::Left, room }
}

/// Nodes, services and pools.
pub(crate) fn status(screen: &Screen, fleet: &Fleet) -> String {
    let mut out = format!("Fleet {}, seen from {}", one_line(&fleet.name), one_line(&fleet.node));
    match (&fleet.driver, &fleet.plan) {
        (Some(driver), Some(plan)) => write!(out, "; {} drives plan {}", one_line(driver), short(plan)).ok(),
        _ => write!(out, "; no plan is under way").ok(),
    };
    if let Some(FleetQuorum { reached, members, is_there }) = fleet.quorum {
        let style = if is_there { GOOD } else { BAD };
        let said = format!("{reached} of {members}{}", if is_there { "" } else { ", which is no majority" });
        write!(out, "; quorum: {}", screen.paint(style, &said)).ok();
    }
    out.push('\n');
    if let Some(trouble) = &fleet.trouble {
        writeln!(out, "{}", screen.paint(BAD, &one_line(trouble))).ok();
    } else if !fleet.has_bus {
        writeln!(out, "{}", screen.paint(FAINT, "no redis is named, so other daemons are not reached")).ok();
    }
    out.push('\n');
    out.push_str(&nodes(screen, fleet));
    out.push('\n');
    for service in &fleet.services {
        write!(out, "{}", screen.paint(STRONG, &one_line(&service.name))).ok();
        for instance in &service.instances {
            let FleetInstance { node, condition, says: _, checks: _ } = instance;
            let style = match condition.as_str() {
                "healthy" => GOOD,
                "bad" => BAD,
                _ => CARE,
            };
            write!(out, "  {} {}", one_line(node), screen.paint(style, &one_line(condition))).ok();
        }
        out.push('\n');
    }
    for pool in &fleet.pools {
        for (host, servers) in pool.hosts.iter().zip(&pool.servers) {
            write!(out, "pool {} at {}:", one_line(&pool.name), one_line(host)).ok();
            match servers {
                None => write!(out, " {}", screen.paint(CARE, "not known")).ok(),
                Some(servers) => servers
                    .iter()
                    .try_for_each(|server| {
                        let (style, word) = if server.takes { (GOOD, "takes requests") } else { (CARE, "takes none") };
                        write!(out, "  {} {}", one_line(&server.name), screen.paint(style, word))
                    })
                    .ok(),
            };
            out.push('\n');
        }
    }
    out
}

fn nodes(screen: &Screen, fleet: &Fleet) -> String {
    let row = |node: &FleetNode| {
        let heard = node.heard_us.map(|us| format!("{} ago", humane::span(us / 1_000_000 * 1_000_000)));
        let same = node.digest.as_ref().map(|digest| short(digest).to_owned());
        let state = node.state.as_deref().unwrap_or("no daemon");
        let state = match (state, node.state_us) {
            ("suspect" | "cut off" | "failed", Some(us)) => {
                Cell::styled(format!("{state} for {}", humane::span(us / 1_000_000 * 1_000_000)), BAD)
            }
            ("alive", _) => Cell::styled(state.to_owned(), GOOD),
            (other, _) => Cell::styled(one_line(other), CARE),
        };
        let trouble = match &node.trouble {
            None => Cell::plain(String::new()),
            Some(trouble) => Cell::styled(one_line(trouble), BAD),
        };
        vec![
            Cell::styled(one_line(&node.name), STRONG),
            Cell::plain(one_line(&node.transport)),
            Cell::optional(node.zone.as_deref().map(one_line)),
            state,
            Cell::optional(heard),
            Cell::optional(node.version.as_deref().map(one_line)),
            Cell::optional(same),
            trouble,
        ]
    };
    let table = [
        column("NODE", Room::Keep),
        column("BY", Room::Keep),
        column("ZONE", Room::Drop(1)),
        column("STATE", Room::Keep),
        column("HEARD", Room::Keep),
        column("VERSION", Room::Drop(2)),
        column("FLEET.TOML", Room::Drop(3)),
        column("TROUBLE", Room::Cut),
    ];
    render(screen, &table, &fleet.nodes.iter().map(row).collect::<Vec<_>>())
}

/// What depends on what.
pub(crate) fn graph(screen: &Screen, fleet: &Fleet) -> String {
    let mut out = String::new();
    for service in &fleet.services {
        let nodes: Vec<String> = service.instances.iter().map(|instance| one_line(&instance.node)).collect();
        let of = nodes.len();
        let name = screen.paint(STRONG, &one_line(&service.name));
        writeln!(out, "{name}  on {}; at most {} of {of} unavailable", nodes.join(", "), service.max_unavailable).ok();
        for edge in &service.depends_on {
            let to = one_line(&edge.service);
            let then = match edge.on_restart.as_str() {
                "none" => "left alone when that is restarted".to_owned(),
                action => format!("{} once that was restarted", one_line(action).replace('_', " ")),
            };
            let require = match edge.require.as_str() {
                "healthy" => " and is healthy",
                "mutex" => ", never together with it",
                _ => "",
            };
            writeln!(out, "  depends on {to}: {then}{require}").ok();
        }
        for pool in &service.behind {
            writeln!(out, "  behind pool {}", one_line(pool)).ok();
        }
    }
    out
}

/// The same for Graphviz.
pub(crate) fn dot(fleet: &Fleet) -> String {
    let quoted = |text: &str| format!("\"{}\"", one_line(text).replace('\\', "\\\\").replace('"', "\\\""));
    let mut out = format!("digraph {} {{\n  rankdir = LR;\n", quoted(&fleet.name));
    for service in &fleet.services {
        let nodes: Vec<&str> = service.instances.iter().map(|instance| instance.node.as_str()).collect();
        let label = quoted(&format!("{} ({})", service.name, nodes.join(", ")));
        writeln!(out, "  {} [shape = box, label = {label}];", quoted(&service.name)).ok();
        for edge in &service.depends_on {
            let ends = format!("{} -> {}", quoted(&service.name), quoted(&edge.service));
            writeln!(out, "  {ends} [label = {}];", quoted(&edge.on_restart)).ok();
        }
        for pool in &service.behind {
            let pool = quoted(&format!("pool {pool}"));
            writeln!(out, "  {pool} -> {} [style = dashed];", quoted(&service.name)).ok();
        }
    }
    out.push_str("}\n");
    out
}

/// One line each.
pub(crate) fn plans(screen: &Screen, plans: &FleetPlans) -> String {
    if plans.plans.is_empty() {
        return "There is no plan yet.\n".to_owned();
    }
    let rows: Vec<Vec<Cell<'_>>> = plans
        .plans
        .iter()
        .map(|plan| {
            let what = format!("{} {}", plan.verb, plan.services.join(" "));
            vec![
                Cell::styled(short(&plan.id).to_owned(), STRONG),
                Cell::plain(screen.local(plan.at_us)),
                Cell::styled(one_line(&plan.state), style_of(&plan.state)),
                Cell::plain(format!("{} of {}", done(plan), tasks(plan).count())),
                Cell::plain(format!("{} at {}", one_line(&plan.by), one_line(&plan.node))),
                Cell::plain(one_line(&what)),
            ]
        })
        .collect();
    let table = [
        column("PLAN", Room::Keep),
        column("ORDERED", Room::Keep),
        column("STATE", Room::Keep),
        column("DONE", Room::Keep),
        column("BY", Room::Drop(1)),
        column("WHAT", Room::Cut),
    ];
    render(screen, &table, &rows)
}

fn style_of(state: &str) -> anstyle::Style {
    match state {
        "succeeded" => GOOD,
        "paused" | "aborted" | "blocked" => BAD,
        "waiting" | "unapproved" | "aborting" | "running" => CARE,
        _ => PLAIN,
    }
}

pub(super) fn tasks(plan: &FleetPlan) -> impl Iterator<Item = &FleetTask> {
    plan.waves.iter().flat_map(|wave| &wave.tasks)
}

fn done(plan: &FleetPlan) -> usize {
    tasks(plan).filter(|task| task.class == "done").count()
}

/// All of a plan.
pub(crate) fn plan(screen: &Screen, plan: &FleetPlan) -> String {
    let mut out = String::new();
    let what = format!("{} {}", one_line(&plan.verb), one_line(&plan.services.join(" ")));
    if plan.state == "nothing" {
        return format!("Nothing is to be done: no instance of {what} is there.\n");
    }
    let name = if plan.id.is_empty() { "Plan".to_owned() } else { format!("Plan {}", short(&plan.id)) };
    let state = screen.paint(style_of(&plan.state), &one_line(&plan.state));
    writeln!(out, "{}: {what}, {state}", screen.paint(STRONG, &name)).ok();
    if let Some(reason) = &plan.reason {
        writeln!(out, "  {}", screen.paint(CARE, &one_line(reason))).ok();
    }
    if !plan.id.is_empty() {
        let (by, node) = (one_line(&plan.by), one_line(&plan.node));
        write!(out, "  ordered by {by} at {node}, {}", screen.local(plan.at_us)).ok();
        plan.driver.as_ref().map(|driver| write!(out, "; driven from {}", one_line(driver)));
        plan.supersedes.as_ref().map(|before| write!(out, "; supersedes {}", short(before)));
        out.push('\n');
    }
    writeln!(out, "  digest {}", one_line(&plan.digest)).ok();
    for (nth, wave) in plan.waves.iter().enumerate() {
        push_wave(screen, &mut out, nth, wave);
    }
    for blocker in &plan.blockers {
        writeln!(out, "{} {}", screen.paint(BAD, "in the way:"), one_line(blocker)).ok();
    }
    if plan.id.is_empty() {
        let count = counted(u64::try_from(tasks(plan).count()).unwrap_or(u64::MAX), "instance");
        writeln!(out, "{count}, about {} if nothing goes wrong", humane::span(plan.estimate_us)).ok();
    }
    out
}

fn push_wave(screen: &Screen, out: &mut String, nth: usize, wave: &FleetWave) {
    let FleetWave { service, max_unavailable, of, soak_us, alone, approve, is_done, why, tasks } = wave;
    let mut rules = vec![format!("at most {max_unavailable} of {of} at once")];
    if *soak_us > 0 {
        rules.push(format!("watched for {} afterwards", humane::span(*soak_us)));
    }
    if *alone {
        rules.push("alone".to_owned());
    }
    if *approve {
        rules.push("once someone has agreed".to_owned());
    }
    if *is_done {
        rules.push("done".to_owned());
    }
    writeln!(out, "\nwave {}  {}  ({})", nth + 1, screen.paint(STRONG, &one_line(service)), rules.join(", ")).ok();
    for why in why {
        writeln!(out, "  {}", screen.paint(FAINT, &format!("because {}", one_line(why)))).ok();
    }
    for task in tasks {
        let drains = task.drains.iter().map(|drain| format!(", drained at {}", one_line(drain))).collect::<String>();
        let style = match task.class.as_str() {
            "done" => GOOD,
            "untouched" => FAINT,
            "in flight" => CARE,
            _ => BAD,
        };
        let action = one_line(&task.action).replace('_', " ");
        let stage = if task.class == "untouched" { String::new() } else { format!("  {}", one_line(&task.stage)) };
        writeln!(out, "  {} {}{drains}{}", action, one_line(&task.instance), screen.paint(style, &stage)).ok();
        if let Some(failure) = &task.failure {
            writeln!(out, "    {}", screen.paint(BAD, &one_line(failure))).ok();
        } else if let Some(wait) = &task.waits_for {
            writeln!(out, "    {}", screen.paint(FAINT, &format!("waits: {}", one_line(wait)))).ok();
        }
    }
}

/// Words of a journal, a line each.
pub(crate) fn words(screen: &Screen, words: &[FleetWord]) -> String {
    let line = |word: &FleetWord| format!("{}  {}\n", screen.local(word.at_us), one_line(&word.text));
    words.iter().map(line).collect()
}

/// How far each service is, on one line.
pub(crate) fn bars(plan: &FleetPlan) -> String {
    let mut services: Vec<&str> = Vec::new();
    for wave in &plan.waves {
        if !services.contains(&wave.service.as_str()) {
            services.push(&wave.service);
        }
    }
    let bar = |service: &&str| {
        let waves = plan.waves.iter().filter(|wave| wave.service == **service);
        let tasks: Vec<&FleetTask> = waves.flat_map(|wave| &wave.tasks).collect();
        let done = tasks.iter().filter(|task| task.class == "done").count();
        let full = (done * BAR).checked_div(tasks.len()).unwrap_or(0);
        let now = tasks.iter().find(|task| task.class == "in flight");
        let now =
            now.map(|task| format!(" {} {}", one_line(&task.stage), one_line(&task.instance))).unwrap_or_default();
        let (full, empty) = ("█".repeat(full), "░".repeat(BAR - full));
        format!("{} {full}{empty} {done}/{}{now}", one_line(service), tasks.len())
    };
    services.iter().map(bar).collect::<Vec<_>>().join("  ")
}

/// What it came to.
pub(crate) fn report(screen: &Screen, plan: &FleetPlan) -> String {
    let mut out = String::new();
    let state = screen.paint(style_of(&plan.state), &one_line(&plan.state));
    write!(out, "Plan {} {state}", short(&plan.id)).ok();
    if let Some(reason) = &plan.reason {
        write!(out, ": {}", one_line(reason)).ok();
    }
    out.push('\n');
    for class in ["done", "in flight", "failed", "unknown", "left drained", "quarantined", "untouched"] {
        let those: Vec<String> =
            tasks(plan).filter(|task| task.class == class).map(|task| one_line(&task.instance)).collect();
        if !those.is_empty() {
            writeln!(out, "  {class}: {}", those.join(", ")).ok();
        }
    }
    let next = match plan.state.as_str() {
        "paused" if plan.is_outdated => {
            Some("plan abort ends it; fleet restart … --supersede puts another one in its place")
        }
        "paused" => Some("plan resume tries again what failed; plan abort ends it"),
        "unapproved" => Some("plan approve lets it begin"),
        _ => None,
    };
    if let Some(next) = next {
        writeln!(out, "  {}", screen.paint(FAINT, &format!("supervisorctl {next} ({})", short(&plan.id)))).ok();
    }
    out
}
