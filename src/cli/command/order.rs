use crate::{
    base::{Signal, UnitName},
    cli::{
        args::{Cleaned, OrderArgs},
        client::{Answer, path_with},
        context::Context,
        exit::{Exit, OrderExit},
        failure::{Failure, say},
        interrupt::Interrupt,
        progress::Progress,
        screen::one_line,
        view,
    },
    wire::v1::{Order, OrderAnswer, Units},
};

/// Ticks from one look at the units to the next while an order is waited for: 1 s.
const LOOK_TICKS: u32 = 10;
/// Ticks after which someone who sees no progress line is told once what is waited for: 5 s.
const WORD_TICKS: u32 = 50;
/// Stands between a unit whose start waits and what it waits for.
const WAITS: &str = " waits for ";
/// Units whose state is named in the progress line; more would not fit it.
const LOOK_UNITS_MAX: usize = 4;

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verb {
    Start,
    Stop,
    Restart,
    Reload,
    Signal(Signal),
    Clean(Cleaned),
    Enable,
    Disable,
}

impl Verb {
    /// Its name in the API.
    const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Reload => "reload",
            Self::Signal(_) => "signal",
            Self::Clean(_) => "clean",
            Self::Enable => "enable",
            Self::Disable => "disable",
        }
    }
}

/// Gives an order for units and waits for its outcome.
pub(super) fn run(context: &Context, verb: Verb, args: OrderArgs) -> Result<Exit, Failure> {
    let signal = match verb {
        Verb::Signal(signal) => Some(signal.to_string()),
        Verb::Start | Verb::Stop | Verb::Restart | Verb::Reload | Verb::Clean(_) | Verb::Enable | Verb::Disable => None,
    };
    let what = match verb {
        Verb::Clean(Cleaned::Fdstore) => Some("fdstore".to_owned()),
        Verb::Start | Verb::Stop | Verb::Restart | Verb::Reload | Verb::Signal(_) | Verb::Enable | Verb::Disable => {
            None
        }
    };
    let order = Order {
        verb: verb.word().to_owned(),
        units: args.units.iter().map(ToString::to_string).collect(),
        all: false,
        signal,
        what,
        dry_run: args.dry_run,
        no_wait: args.no_wait,
    };
    give(context, &order)
}

/// `reset`: of these units, or of all; which of both must be said.
pub(super) fn reset(context: &Context, units: &[UnitName], all: bool, dry_run: bool) -> Result<Exit, Failure> {
    if units.is_empty() && !all {
        return Err(Failure::Usage {
            text: "cannot tell what to reset",
            remedy: "name units: `supervisorctl reset UNIT…`, or mean every one: `supervisorctl reset --all`",
        });
    }
    let order = Order {
        verb: "reset".to_owned(),
        units: units.iter().map(ToString::to_string).collect(),
        all,
        signal: None,
        what: None,
        dry_run,
        no_wait: false,
    };
    give(context, &order)
}

fn give(context: &Context, order: &Order) -> Result<Exit, Failure> {
    let answer = match wait_for(context, order) {
        Err(failure) if failure.is_interrupted() => {
            say("supervisorctl: no longer waiting; the daemon has the order and carries it out\n");
            return Ok(Exit::Interrupted);
        }
        other => other?,
    };
    let view = if order.dry_run { view::order::plan } else { view::order::outcomes };
    context.show(&answer, view)?;
    Ok(Exit::Order(OrderExit::of(&answer.value)))
}

/// An outcome may take as long as a unit's timeouts: there is no deadline of ours, the user sees what it waits for.
fn wait_for(context: &Context, order: &Order) -> Result<Answer<OrderAnswer>, Failure> {
    let interrupt = Interrupt::watch().map_err(Failure::Signals)?;
    let mut progress = Progress::new();
    let mut states = order.units.join(", ");
    let answer = context.client.post("/v1/orders", order, &mut |ticks| {
        interrupt.check()?;
        if progress.is_visible() && ticks % LOOK_TICKS == 0 {
            states = look(context, order).unwrap_or_else(|| states.clone());
        }
        progress.show(ticks, &format!("{}: {states}", order.verb));
        if !progress.is_visible()
            && ticks == WORD_TICKS
            && let Some(states) = look(context, order).filter(|states| states.contains(WAITS))
        {
            say(&format!("supervisorctl: {}: {states}\n", order.verb));
        }
        Ok(())
    });
    Ok(answer?)
}

/// What the units are doing now; nothing when that cannot be asked.
fn look(context: &Context, order: &Order) -> Option<String> {
    let pairs: Vec<(&str, String)> =
        order.units.iter().take(LOOK_UNITS_MAX).map(|name| ("unit", name.clone())).collect();
    if pairs.is_empty() {
        return None;
    }
    let units: Units = context.client.get(&path_with("/v1/units", &pairs)).ok()?.value;
    let states: Vec<String> = units
        .units
        .iter()
        .map(|unit| match &unit.waits_for {
            Some(other) => format!("{}{WAITS}{}", one_line(&unit.name), one_line(other)),
            None => format!("{} is {}", unit.name, view::state::State::of(unit).in_words()),
        })
        .collect();
    let more = if order.units.len() > LOOK_UNITS_MAX { ", …" } else { "" };
    Some(format!("{}{more}", states.join(", ")))
}
