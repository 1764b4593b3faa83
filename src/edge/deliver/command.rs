//! A command of the operator's: it reads a message from its standard input, and its end says what became of it
//! (sysexits.h).
//!
//! What runs it is the engine's matter, as only the keeper makes processes.

use super::answer::Answer;
use crate::{
    alert::{Message, Program, RouteName},
    base::{ExitStatus, SpawnFailure, SpawnStep, TimeSpan},
    edge::errand::{self, ErrandEnd, ErrandError, ErrandName, Errands},
};

/// Not now: "the user is invited to retry", EX_TEMPFAIL of sysexits.h.
const TEMPORARY_FAILURE: u8 = 75;
/// ETXTBSY, errno(3): the program's file is just being written.
const BEING_WRITTEN: i32 = 26;

/// Runs the command of a route for a message.
pub(super) async fn send(program: &Program, message: &Message, route: &RouteName, errands: &Errands) -> Answer {
    // Not even tried: it might run as someone else.
    if let Some(reason) = &program.unfit {
        return Answer::RefusesUs(reason.clone());
    }
    let name = ErrandName::Route(route.clone());
    let input = format!("{}\n", message.to_json()).into_bytes();
    match errand::run(errands, name, program, message.variables(), input).await {
        Ok((end, said)) => meaning(end, &said, program),
        Err(error @ (ErrandError::Pipe(_) | ErrandError::Ending)) => later(error.to_string(), Taken::No),
        Err(error @ (ErrandError::CutOff | ErrandError::Stuck)) => later(error.to_string(), Taken::Maybe),
    }
}

/// Whether a message may have been taken although nobody said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    No,
    Maybe,
}

fn later(reason: String, taken: Taken) -> Answer {
    Answer::Later { reason, after: None, maybe_taken: taken == Taken::Maybe }
}

/// What the end of a command means for its message.
fn meaning(end: ErrandEnd, said: &[u8], program: &Program) -> Answer {
    let with_words = |what: String| match first_line(said) {
        words if words.is_empty() => what,
        words => format!("{what}: {words}"),
    };
    match end {
        ErrandEnd::Ended(ExitStatus::Exited(0)) => Answer::Taken,
        ErrandEnd::Ended(status @ ExitStatus::Exited(TEMPORARY_FAILURE)) => {
            later(with_words(status.to_string()), Taken::No)
        }
        ErrandEnd::Ended(status @ ExitStatus::Exited(_)) => Answer::RefusesMessage(with_words(status.to_string())),
        ErrandEnd::Ended(status @ (ExitStatus::Signaled { .. } | ExitStatus::Unknown)) => {
            later(with_words(status.to_string()), Taken::Maybe)
        }
        ErrandEnd::Late => later(with_words(late(program.timeout)), Taken::Maybe),
        ErrandEnd::NotRun(failure) if is_lasting(failure) => {
            Answer::RefusesUs(format!("cannot run {}: {failure}", program.path))
        }
        ErrandEnd::NotRun(failure) => later(format!("cannot run {}: {failure}", program.path), Taken::No),
        ErrandEnd::Busy => later("earlier commands of the route have not ended".to_owned(), Taken::No),
    }
}

fn late(timeout: TimeSpan) -> String {
    format!("killed, as it took longer than {timeout}")
}

/// Whether someone has to mend it: no such program, no such user. A host that is short of something may have it soon.
fn is_lasting(failure: SpawnFailure) -> bool {
    let is_own = matches!(failure.step, SpawnStep::Exec | SpawnStep::Groups | SpawnStep::Group | SpawnStep::User);
    is_own && !failure.is_shortage() && failure.errno != BEING_WRITTEN
}

/// The first line that says something.
fn first_line(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    text.lines().find(|line| !line.trim().is_empty()).map(super::route::reason_in).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Write};

    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        base::{Now, Signal},
        edge::errand::{ErrandAsk, ErrandInput},
    };

    fn program() -> Program {
        let (path, argv) = ("/bin/page".to_owned(), vec!["page".to_owned()]);
        let (environment, timeout) = (BTreeMap::new(), TimeSpan::from_secs(10));
        Program { path, argv, user: None, environment, timeout, unfit: None }
    }

    fn meaning_of(end: ErrandEnd, said: &str) -> Answer {
        meaning(end, said.as_bytes(), &program())
    }

    #[test]
    fn an_end_is_taken_later_or_never() {
        let ended = |code| ErrandEnd::Ended(ExitStatus::Exited(code));
        let killed = ExitStatus::Signaled { signal: Signal::KILL, core: false };
        let failed = |step, errno| ErrandEnd::NotRun(SpawnFailure { step, errno });
        assert_eq!(meaning_of(ended(0), "all well"), Answer::Taken);
        assert_eq!(
            meaning_of(ended(3), "\n \nno such pager\x1b[31m\nmore"),
            Answer::RefusesMessage("exit code 3: no such pager [31m".to_owned())
        );
        assert_eq!(meaning_of(ended(1), ""), Answer::RefusesMessage("exit code 1".to_owned()));
        for (end, maybe) in [
            (ended(TEMPORARY_FAILURE), false),
            (ErrandEnd::Ended(killed), true),
            (ErrandEnd::Ended(ExitStatus::Unknown), true),
            (ErrandEnd::Late, true),
            (ErrandEnd::Busy, false),
            (failed(SpawnStep::Clone, 11), false),
            (failed(SpawnStep::Exec, BEING_WRITTEN), false),
        ] {
            let answer = meaning_of(end, "");
            assert!(matches!(answer, Answer::Later { maybe_taken, .. } if maybe_taken == maybe), "{end:?}: {answer:?}");
        }
        for end in [failed(SpawnStep::Exec, 2), failed(SpawnStep::Exec, 13), failed(SpawnStep::User, 1)] {
            let answer = meaning_of(end, "");
            assert!(matches!(&answer, Answer::RefusesUs(why) if why.contains("/bin/page")), "{end:?}: {answer:?}");
        }
    }

    #[test]
    fn what_it_says_is_one_bounded_line() {
        let Answer::RefusesMessage(why) = meaning_of(ErrandEnd::Ended(ExitStatus::Exited(1)), &"x".repeat(4000)) else {
            panic!("it refuses");
        };
        assert!(why.len() < 300, "{}", why.len());
    }

    #[tokio::test]
    async fn a_command_that_floods_its_output_is_read_to_its_end_and_forgotten() {
        let route = RouteName::new("pager").expect("a name");
        let message = Message::test("vm1", &route, Now::default());
        let (errands, mut asked) = mpsc::unbounded_channel();
        let floods = async {
            let Some(ErrandAsk::Run(errand)) = asked.recv().await else { panic!("not asked") };
            let ErrandInput::Data(input) = &errand.input else { panic!("it is told the message") };
            assert_eq!(input.last(), Some(&b'\n'));
            let text = std::str::from_utf8(input).expect("text");
            assert_eq!(Message::from_json(text).expect("a message"), message);
            assert!(errand.variables.contains(&("ROUNDSMAN_EVENT".to_owned(), "test".to_owned())));
            tokio::task::spawn_blocking(move || {
                let mut output = std::fs::File::from(errand.output);
                // More than a pipe holds.
                output.write_all(&vec![b'x'; 1 << 20]).expect("read all the while");
                errand.reply.send(ErrandEnd::Ended(ExitStatus::Exited(1))).expect("waited for");
            })
            .await
            .expect("it wrote");
        };
        let program = program();
        let (answer, ()) = tokio::join!(send(&program, &message, &route, &errands), floods);
        assert!(matches!(answer, Answer::RefusesMessage(why) if why.len() < 300));
    }

    #[tokio::test]
    async fn an_engine_that_ends_leaves_a_message_that_may_have_been_taken() {
        let route = RouteName::new("pager").expect("a name");
        let message = Message::test("vm1", &route, Now::default());
        let (errands, mut asked) = mpsc::unbounded_channel();
        let program = program();
        let (answer, errand) = tokio::join!(send(&program, &message, &route, &errands), async {
            drop(asked.recv().await);
            asked.close();
        });
        assert_eq!(errand, ());
        assert!(matches!(answer, Answer::Later { maybe_taken: true, .. }), "{answer:?}");
        let answer = send(&program, &message, &route, &errands).await;
        assert!(matches!(answer, Answer::Later { maybe_taken: false, .. }), "{answer:?}");
    }
}
