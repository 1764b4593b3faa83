//! What a node keeps of its fleet.

use super::*;
use crate::fleet::{
    Deed, Entry, Event, FailureKind, PlanId, PoolName, Row, ServiceName, StepId, StepOrder, StepOutcome, Token,
};

fn kept(writes: impl IntoIterator<Item = FleetWrite>) -> Vec<Write> {
    writes.into_iter().map(|write| Write::Fleet(Box::new(write))).collect()
}

#[tokio::test]
async fn what_a_node_promised_and_did_is_read_in_its_order_and_an_end_is_never_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let bench = open(&path);
    let token = |epoch| Row::Promise(Token { epoch, owner: u128::MAX - 1 });
    let step = |nth: u8, entry| Row::Step(StepId([nth; 16]), PlanId(7), entry);
    let over = || Entry::Over(StepOutcome::Failed { kind: FailureKind::StartLimit, reason: "5 starts".to_owned() });
    let begun = || Entry::Started { before: Some(InvocationId([3; 16])) };
    let rows = [token(1), step(9, begun()), step(2, begun()), token(2), step(9, over())];
    bench.submit(1, kept(rows.map(FleetWrite::Row)));
    // A replay after a crash.
    bench.submit(2, kept([step(9, begun()), token(2)].map(FleetWrite::Row)));
    bench.submit(3, kept([FleetWrite::Life(5), FleetWrite::Life(4)]));
    bench.committed(3);
    drop(bench);
    let store = open(&path).store;
    assert_eq!(store.fleet_rows().await.unwrap(), [token(2), step(9, over()), step(2, begun())]);
    assert_eq!(store.fleet_life().await.unwrap(), 5, "a life has one number");
}

#[tokio::test]
async fn what_a_step_is_to_do_is_known_until_the_step_is_over_or_left() {
    let dir = tempfile::tempdir().unwrap();
    let bench = open(&dir.path().join("state.db"));
    let order = |nth: u8| StepOrder {
        id: StepId([nth; 16]),
        plan: PlanId(7),
        instance: "app@vm1".parse().unwrap(),
        unit: unit(),
        deed: Deed::Reload,
        expects: None,
        deadline: TimeSpan::from_secs(9),
        ttl: TimeSpan::from_secs(3),
    };
    let over = Entry::Over(StepOutcome::Done { before: None, after: None });
    let writes = (1..=3).map(|nth| FleetWrite::Order(Box::new(order(nth))));
    bench.submit(1, kept(writes));
    bench.submit(2, kept([FleetWrite::Row(Row::Step(StepId([1; 16]), PlanId(7), over))]));
    bench.submit(3, kept([FleetWrite::LeftUndone(StepId([3; 16]))]));
    bench.committed(3);
    let known = bench.store.fleet_orders().await.unwrap();
    assert_eq!(known, [(StepId([2; 16]), Some(order(2)))].into());
}

#[tokio::test]
async fn up_to_which_run_a_service_was_followed_is_known_until_nobody_depends_on_it() {
    let dir = tempfile::tempdir().unwrap();
    let bench = open(&dir.path().join("state.db"));
    let service = |text: &str| text.parse::<ServiceName>().unwrap();
    let followed = |text: &str, nth: Option<u64>| FleetWrite::Followed {
        service: service(text),
        up_to: nth.map(|nth| (unit(), Generation(nth))),
    };
    bench.submit(1, kept([followed("db", Some(1)), followed("db", Some(4)), followed("app", Some(2))]));
    bench.submit(2, kept([followed("app", None)]));
    bench.committed(2);
    assert_eq!(bench.store.fleet_followed().await.unwrap(), [(service("db"), (unit(), Generation(4)))].into());
}

#[tokio::test]
async fn plans_and_their_journals_are_kept_newest_first_and_a_word_is_kept_once() {
    let dir = tempfile::tempdir().unwrap();
    let bench = open(&dir.path().join("state.db"));
    let plan = |id, second| FleetWrite::Plan { id: PlanId(id), at: at(second).wall, document: format!("plan {id}") };
    let resumed = |by: &str| Event::Resumed { by: by.to_owned() };
    let word = |nth, by| FleetWrite::Event { plan: PlanId(1), nth, at: at(9).wall, event: resumed(by) };
    bench.submit(1, kept([plan(1, 1), plan(2, 2), plan(1, 3), word(0, "a"), word(1, "b"), word(1, "c")]));
    bench.submit(2, kept([FleetWrite::Shown { id: PlanId(2), text: "shown".to_owned() }]));
    bench.committed(2);
    let plans = bench.store.fleet_plans().await.unwrap();
    let known = |id, second, shown: Option<&str>, journal| KeptPlan {
        id: PlanId(id),
        at: at(second).wall,
        document: format!("plan {id}"),
        shown: shown.map(str::to_owned),
        journal,
    };
    let words = vec![(at(9).wall, resumed("a")), (at(9).wall, resumed("b"))];
    assert_eq!(plans, [known(2, 2, Some("shown"), Vec::new()), known(1, 1, None, words)]);
}

#[tokio::test]
async fn a_server_stays_drained_until_it_is_said_to_take_requests() {
    let dir = tempfile::tempdir().unwrap();
    let bench = open(&dir.path().join("state.db"));
    let pool = PoolName::new("apps").unwrap();
    let drain = |server: &str, since| FleetWrite::Drain { pool: pool.clone(), server: server.into(), since };
    bench.submit(1, kept([drain("a", Some(at(1).wall)), drain("b", Some(at(2).wall)), drain("a", None)]));
    bench.committed(1);
    assert_eq!(bench.store.fleet_drains().await.unwrap(), [(pool.clone(), "b".into())]);
}

#[tokio::test]
async fn how_a_server_was_registered_is_known_until_it_is_again() {
    let dir = tempfile::tempdir().unwrap();
    let bench = open(&dir.path().join("state.db"));
    let pool = PoolName::new("apps").unwrap();
    let keep = |server: &str, definition: Option<&str>| FleetWrite::Definition {
        pool: pool.clone(),
        server: server.into(),
        definition: definition.map(str::to_owned),
    };
    bench.submit(1, kept([keep("a", Some("{1}")), keep("b", Some("{2}")), keep("b", Some("{3}")), keep("a", None)]));
    bench.committed(1);
    let known = [("b".into(), "{3}".to_owned())].into();
    assert_eq!(bench.store.fleet_definitions(pool).await.unwrap(), known);
    assert!(bench.store.fleet_definitions(PoolName::new("other").unwrap()).await.unwrap().is_empty());
}
