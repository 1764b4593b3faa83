use std::{ffi::OsStr, time::Duration};

use super::supervisord;
use crate::{
    cli::{
        client::Answer,
        context::{Context, Reader, print},
        exit::{Exit, FleetExit},
        failure::Failure,
        fleet_args::{EnrolArgs, FleetCommand, PlanArgs, PlanCommand},
        interrupt::Interrupt,
        progress::Progress,
        screen::Screen,
        view,
    },
    wire::v1::{Fleet, FleetIntent, FleetPlan, FleetPlans, FleetSay},
};

/// The fleet as it is known, without anyone being asked.
const KNOWN: &str = "/v1/fleet?known";
/// How often it is asked how far a plan is.
const PAUSE: Duration = Duration::from_millis(250);

/// `fleet`
pub(super) fn run(context: &Context, what: FleetCommand) -> Result<Exit, Failure> {
    match what {
        FleetCommand::Status => {
            let answer: Answer<Fleet> = context.client.get("/v1/fleet")?;
            context.show(&answer, view::fleet::status)?;
            let is_well = answer.value.nodes.iter().all(|node| node.trouble.is_none());
            Ok(if is_well { Exit::DONE } else { Exit::Fleet(FleetExit::NotWell) })
        }
        FleetCommand::Graph { dot } => {
            let answer: Answer<Fleet> = context.client.get("/v1/fleet")?;
            context.show(
                &answer,
                |screen, fleet| if dot { view::fleet::dot(fleet) } else { view::fleet::graph(screen, fleet) },
            )?;
            Ok(Exit::DONE)
        }
        FleetCommand::Restart(args) => order(context, "restart", args),
        FleetCommand::Reload(args) => order(context, "reload", args),
        FleetCommand::Follow(args) => order(context, "follow", args),
        FleetCommand::Enrol(args) => enrol(&args),
        FleetCommand::Plans => {
            let answer: Answer<FleetPlans> = context.client.get("/v1/fleet/plans")?;
            context.show(&answer, view::fleet::plans)?;
            Ok(Exit::DONE)
        }
    }
}

/// By `supervisord enrol`, which this process becomes.
fn enrol(args: &EnrolArgs) -> Result<Exit, Failure> {
    let mut words: Vec<&OsStr> = vec!["enrol".as_ref(), "--login".as_ref(), args.login.as_ref()];
    let files = [("--ssh-config", &args.ssh_config), ("--config", &args.config)];
    for (option, file) in files {
        words.extend(file.iter().flat_map(|file| [option.as_ref(), file.as_os_str()]));
    }
    if args.anew {
        words.push("--anew".as_ref());
    }
    words.push(args.node.as_ref());
    match supervisord::become_it(&words)? {}
}

/// `plan`
pub(super) fn plan(context: &Context, what: PlanCommand) -> Result<Exit, Failure> {
    let say = |verb: &str| FleetSay { verb: verb.to_owned(), reason: None, wave: None, digest: None, instance: None };
    let (id, said) = match what {
        PlanCommand::Show { id, follow } => {
            let id = id.map_or_else(|| newest(context), Ok)?;
            let answer: Answer<FleetPlan> = context.client.get(&format!("/v1/fleet/plans/{id}"))?;
            if follow && !answer.value.is_at_rest() {
                return watch(context, answer.value);
            }
            context.show(&answer, view::fleet::plan)?;
            return Ok(Exit::Fleet(FleetExit::of(&answer.value)));
        }
        PlanCommand::Approve { id, wave, digest } => (id, FleetSay { wave, digest, ..say("approve") }),
        PlanCommand::Pause(args) => (args.id, FleetSay { reason: args.reason, ..say("pause") }),
        PlanCommand::Take { id } => (id, say("take")),
        PlanCommand::Resume { id } => (id, say("resume")),
        PlanCommand::Abort(args) => (args.id, FleetSay { reason: args.reason, ..say("abort") }),
        PlanCommand::Quarantine { id, instance } => (id, FleetSay { instance: Some(instance), ..say("quarantine") }),
    };
    let interrupt = Interrupt::watch().map_err(Failure::Signals)?;
    let mut wait = |ticks| interrupt.check_briefly(ticks);
    let answer: Answer<FleetPlan> = context.client.post(&format!("/v1/fleet/plans/{id}"), &said, &mut wait)?;
    context.show(&answer, view::fleet::plan)?;
    Ok(Exit::DONE)
}

fn newest(context: &Context) -> Result<String, Failure> {
    let answer: Answer<FleetPlans> = context.client.get("/v1/fleet/plans")?;
    let newest = answer.value.plans.into_iter().next().map(|plan| plan.id);
    newest.ok_or(Failure::Usage {
        text: "there is no plan yet",
        remedy: "`supervisorctl fleet restart SERVICE --dry-run` shows one",
    })
}

fn order(context: &Context, verb: &str, args: PlanArgs) -> Result<Exit, Failure> {
    let PlanArgs { services, nodes, no_cascade, at_any_time, approve, supersede, dry_run, digest, no_wait } = args;
    let verb = verb.to_owned();
    let intent = FleetIntent { verb, services, nodes, no_cascade, at_any_time, dry_run, digest, approve, supersede };
    let interrupt = Interrupt::watch().map_err(Failure::Signals)?;
    let mut wait = |ticks| interrupt.check_briefly(ticks);
    let answer: Answer<FleetPlan> = context.client.post("/v1/fleet/plans", &intent, &mut wait)?;
    // The order has asked everyone, hosts too: that is not waited for again.
    let before: Option<Answer<Fleet>> = if context.json { None } else { Some(context.client.get(KNOWN)?) };
    let with_list = |screen: &Screen, plan: &FleetPlan| {
        let list = before.as_ref().filter(|_| !plan.waves.is_empty());
        let list = list.map_or_else(String::new, |fleet| view::checklist::before(screen, &fleet.value, plan));
        format!("{}{list}", view::fleet::plan(screen, plan))
    };
    if no_wait || context.json || answer.value.id.is_empty() {
        context.show(&answer, with_list)?;
        return Ok(Exit::Fleet(if no_wait && !answer.value.id.is_empty() {
            FleetExit::Done
        } else {
            FleetExit::of(&answer.value)
        }));
    }
    print(with_list(&context.screen, &answer.value).as_bytes())?;
    watch(context, answer.value)
}

/// Tells each new word of the journal, until the plan is over or waits for someone.
fn watch(context: &Context, mut plan: FleetPlan) -> Result<Exit, Failure> {
    let interrupt = Interrupt::watch().map_err(Failure::Signals)?;
    let mut progress = Progress::new();
    let mut told = 0;
    for ticks in 0.. {
        let new = view::fleet::words(&context.screen, plan.journal.get(told..).unwrap_or_default());
        if !new.is_empty() {
            progress.wipe();
            if print(new.as_bytes())? == Reader::Gone {
                return Ok(Exit::DONE);
            }
        }
        told = plan.journal.len();
        if plan.is_at_rest() {
            progress.wipe();
            print(view::fleet::report(&context.screen, &plan).as_bytes())?;
            if plan.is_over() {
                let fleet: Answer<Fleet> = context.client.get(KNOWN)?;
                print(view::checklist::after(&context.screen, &fleet.value, &plan).as_bytes())?;
            }
            return Ok(Exit::Fleet(FleetExit::of(&plan)));
        }
        progress.show_now(ticks, &view::fleet::bars(&plan));
        interrupt.pause(PAUSE)?;
        let answer: Answer<FleetPlan> = match context.client.get(&format!("/v1/fleet/plans/{}", plan.id)) {
            Ok(answer) => answer,
            Err(error) => {
                let failure = Failure::Call(error);
                // The daemon may be on its way back; the plan does not need us.
                if failure.is_loss() {
                    continue;
                }
                return Err(failure);
            }
        };
        let changes = view::checklist::changes(&Screen::of_stdout(), &plan, &answer.value);
        if !changes.is_empty() {
            progress.wipe();
            print(changes.as_bytes())?;
        }
        plan = answer.value;
    }
    Ok(Exit::DONE)
}
