use crate::{
    cli::{
        args::AlertsCommand,
        client::Answer,
        context::Context,
        exit::{Exit, PlainExit},
        failure::Failure,
        http::briefly,
        interrupt::Interrupt,
        view,
    },
    wire::v1::{Alerts, Incidents, RouteTest, Silence, SilenceRequest, Silences, Which},
};

/// `alerts`
pub(super) fn run(context: &Context, what: Option<AlertsCommand>) -> Result<Exit, Failure> {
    match what {
        None | Some(AlertsCommand::List) => {
            let answer: Answer<Alerts> = context.client.get("/v1/alerts")?;
            context.show(&answer, view::alerts::list)?;
        }
        Some(AlertsCommand::Ack { what }) => {
            let answer: Answer<Incidents> = context.client.post("/v1/alerts/ack", &Which { what }, &mut briefly)?;
            context.show(&answer, view::alerts::acknowledged)?;
        }
        Some(AlertsCommand::Silence { what, span, comment, maintenance }) => {
            let span_us = span.micros().unwrap_or(u64::MAX);
            let asked = SilenceRequest { what, span_us, comment, maintenance };
            let answer: Answer<Silence> = context.client.post("/v1/alerts/silence", &asked, &mut briefly)?;
            context.show(&answer, view::alerts::silenced)?;
        }
        Some(AlertsCommand::Unsilence { what }) => {
            let answer: Answer<Silences> =
                context.client.post("/v1/alerts/unsilence", &Which { what }, &mut briefly)?;
            context.show(&answer, view::alerts::unsilenced)?;
        }
        Some(AlertsCommand::Test { route }) => return test(context, route),
    }
    Ok(Exit::DONE)
}

/// A receiver may take its time.
fn test(context: &Context, route: String) -> Result<Exit, Failure> {
    let interrupt = Interrupt::watch().map_err(Failure::Signals)?;
    let mut wait = |_| interrupt.check();
    let answer: Answer<RouteTest> = context.client.post("/v1/alerts/test", &Which { what: route }, &mut wait)?;
    context.show(&answer, view::alerts::tested)?;
    Ok(if answer.value.ok { Exit::DONE } else { Exit::Plain(PlainExit::Failed) })
}
