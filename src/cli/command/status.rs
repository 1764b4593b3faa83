use crate::{
    base::UnitName,
    cli::{
        client::{Answer, CallError, encoded, path_with, understood},
        context::{Context, print},
        exit::{Exit, StatusExit},
        failure::{Failure, say},
        http::briefly,
        view,
    },
    wire::v1::{Unit, UnitLines, Units},
};

/// Lines of output below each unit that was named.
const LOG_LINES: u32 = 10;
/// Longest output that is shown there.
const LOG_BYTES_MAX: usize = 64 << 10;

/// `status`: a table of all, or a block for each that is named.
pub(super) fn run(context: &Context, names: &[UnitName]) -> Result<Exit, Failure> {
    if names.is_empty() && !context.json {
        return all(context);
    }
    match ask(context, names) {
        Ok(answer) => {
            context.show(&answer, |_, units| blocks(context, &units.units))?;
            Ok(Exit::Status(exit_of(&answer.value.units)))
        }
        Err(error) if error.is_unknown_unit() && names.len() > 1 && !context.json => one_by_one(context, names),
        Err(error) => Err(error.into()),
    }
}

fn all(context: &Context) -> Result<Exit, Failure> {
    let path = "/v1/units?brief";
    let raw = context.client.get_raw(path)?;
    let lines: UnitLines<'_> = understood(path, &raw)?;
    print(view::status::table(&context.screen, &lines).as_bytes())?;
    Ok(Exit::Status(StatusExit::of(lines.units.iter().map(|unit| unit.up))))
}

fn exit_of(units: &[Unit]) -> StatusExit {
    StatusExit::of(units.iter().map(|unit| unit.up))
}

fn ask(context: &Context, names: &[UnitName]) -> Result<Answer<Units>, CallError> {
    let pairs: Vec<(&str, String)> = names.iter().map(|name| ("unit", name.to_string())).collect();
    context.client.get(&path_with("/v1/units", &pairs))
}

/// One name is unknown, which is no reason to keep quiet about the others.
fn one_by_one(context: &Context, names: &[UnitName]) -> Result<Exit, Failure> {
    let mut known = Vec::new();
    let mut exit = StatusExit::AllUp;
    for name in names {
        match ask(context, std::slice::from_ref(name)) {
            Ok(answer) => known.extend(answer.value.units),
            Err(error) if error.is_unknown_unit() => {
                say(&Failure::Call(error).report());
                exit = StatusExit::UnknownUnit;
            }
            Err(error) => return Err(error.into()),
        }
    }
    print(blocks(context, &known).as_bytes())?;
    let worst = if exit == StatusExit::UnknownUnit { exit } else { exit_of(&known) };
    Ok(Exit::Status(worst))
}

fn blocks(context: &Context, units: &[Unit]) -> String {
    let shown = units.iter().map(|unit| view::detail::block(&context.screen, unit, &last_output(context, unit)));
    shown.collect::<Vec<_>>().join("\n")
}

/// The unit's last output. It is an extra: a daemon that cannot give it still gives the rest.
fn last_output(context: &Context, unit: &Unit) -> String {
    let path = format!("/v1/units/{}/logs", encoded(&unit.name));
    let mut wait = briefly;
    let mut bytes = Vec::new();
    let Ok(mut body) =
        context.client.stream(&path_with(&path, &[("lines", LOG_LINES.to_string())]), "text/plain", &mut wait)
    else {
        return String::new();
    };
    while bytes.len() < LOG_BYTES_MAX && matches!(body.read_piece(&mut bytes), Ok(Some(_))) {}
    bytes.truncate(LOG_BYTES_MAX);
    String::from_utf8_lossy(&bytes).into_owned()
}
