use crate::{
    base::UnitName,
    cli::{
        client::{Answer, encoded, path_with},
        context::{Context, Reader, print},
        exit::Exit,
        failure::Failure,
        interrupt::Interrupt,
        progress::Progress,
        view,
    },
    wire::v1::{Dependencies, History, Properties, Reloaded, UnitFiles, Units, Why},
};

fn unit_path(unit: &UnitName, part: &str) -> String {
    format!("/v1/units/{}/{part}", encoded(unit.as_str()))
}

/// `history`
pub(super) fn history(context: &Context, unit: Option<&UnitName>, lines: u32) -> Result<Exit, Failure> {
    let mut pairs = vec![("limit", lines.to_string())];
    if let Some(unit) = unit {
        pairs.insert(0, ("unit", unit.to_string()));
    }
    let answer = context.client.get(&path_with("/v1/history", &pairs))?;
    context.show(&answer, view::history::table)?;
    Ok(Exit::DONE)
}

/// Runs of one page of an export.
const PAGE: usize = 1000;

/// `history --export`: page by page, so that neither here nor there more than one is in memory.
pub(super) fn export(context: &Context, unit: Option<&UnitName>) -> Result<Exit, Failure> {
    let mut after = 0;
    loop {
        let mut pairs = vec![("limit", PAGE.to_string()), ("after", after.to_string())];
        pairs.extend(unit.map(|unit| ("unit", unit.to_string())));
        let page: Answer<History> = match context.client.get(&path_with("/v1/history", &pairs)) {
            // It was there a page ago, and its files have gone since.
            Err(error) if error.is_unknown_unit() && after > 0 => return Ok(Exit::DONE),
            page => page?,
        };
        let mut lines = Vec::new();
        for run in &page.value.runs {
            serde_json::to_writer(&mut lines, run).map_err(Failure::Json)?;
            lines.push(b'\n');
            after = run.seq;
        }
        if print(&lines)? == Reader::Gone || page.value.runs.len() < PAGE {
            return Ok(Exit::DONE);
        }
    }
}

/// `why`
pub(super) fn why(context: &Context, unit: &UnitName) -> Result<Exit, Failure> {
    let answer: Answer<Why> = context.client.get(&unit_path(unit, "why"))?;
    context.show(&answer, view::events::why)?;
    Ok(Exit::DONE)
}

/// `list`
pub(super) fn list(context: &Context, names: bool) -> Result<Exit, Failure> {
    let answer: Answer<Units> = context.client.get("/v1/units")?;
    context.show(&answer, if names { view::unit::names } else { view::unit::list })?;
    Ok(Exit::DONE)
}

/// `cat`
pub(super) fn cat(context: &Context, unit: &UnitName) -> Result<Exit, Failure> {
    let answer: Answer<UnitFiles> = context.client.get(&unit_path(unit, "files"))?;
    context.show(&answer, view::unit::files)?;
    Ok(Exit::DONE)
}

/// `show`: all properties, or those that are named.
pub(super) fn show(context: &Context, unit: &UnitName, wanted: &[String]) -> Result<Exit, Failure> {
    let answer: Answer<Properties> = context.client.get(&unit_path(unit, "properties"))?;
    if wanted.is_empty() {
        context.show(&answer, view::unit::properties)?;
        return Ok(Exit::DONE);
    }
    let all = answer.value.properties;
    let mut properties = Vec::new();
    for name in wanted {
        let found = all.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        properties.push(found.cloned().ok_or_else(|| Failure::Property(name.clone()))?);
    }
    let value = Properties { properties };
    let raw = serde_json::to_vec(&value).map_err(Failure::Json)?;
    context.show(&Answer { raw, value }, view::unit::properties)?;
    Ok(Exit::DONE)
}

/// `deps`
pub(super) fn deps(context: &Context, unit: &UnitName) -> Result<Exit, Failure> {
    let answer: Answer<Dependencies> = context.client.get(&unit_path(unit, "dependencies"))?;
    context.show(&answer, view::unit::dependencies)?;
    Ok(Exit::DONE)
}

/// `reload-config`
pub(super) fn reload_config(context: &Context) -> Result<Exit, Failure> {
    let interrupt = Interrupt::watch().map_err(Failure::Signals)?;
    let mut progress = Progress::new();
    let body = serde_json::json!({ "notifyOtherInstances": true });
    let answer: Answer<Reloaded> = context.client.post("/admin/reload", &body, &mut |ticks| {
        interrupt.check()?;
        progress.show(ticks, "reload-config: roundsman.toml and unit files are read and checked");
        Ok(())
    })?;
    context.show(&answer, view::unit::reloaded)?;
    Ok(Exit::DONE)
}
