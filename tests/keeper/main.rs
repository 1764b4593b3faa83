//! The real keeper with real processes. The test program is also the keeper, the manager and the services of its tests.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    reason = "a test program that is its own harness"
)]

mod children;
mod faults;
mod fd_store;
#[path = "../support/harness.rs"]
mod harness;
mod managers;
mod roles;
mod upgrades;
mod world;

use std::{env, process::ExitCode};

use harness::{Test, tests};

const TESTS: &[Test] = tests![
    children::an_end_is_told_with_status_and_usage,
    children::the_peak_of_a_small_process_is_not_told_to_be_the_keepers,
    children::a_packet_full_of_orders_is_obeyed_to_its_end,
    children::a_start_that_fails_names_its_step_and_is_never_an_exit,
    children::a_process_inherits_exactly_what_is_declared,
    children::a_held_socket_is_passed_with_the_right_pid,
    children::a_generation_is_started_once,
    children::signals_reach_the_process_or_its_group,
    children::a_stranger_is_signalled_only_if_it_is_the_one_that_was_seen,
    children::the_program_taking_over_is_told_where_that_is_asked,
    children::limits_beyond_ours_are_lowered_and_told,
    children::a_huge_environment_arrives,
    faults::orphans_of_a_double_fork_are_reaped,
    faults::ten_thousand_zombies_are_reaped_within_a_second,
    faults::a_datagram_says_who_sent_it_and_waits_for_its_acknowledgement,
    faults::a_datagram_is_told_before_its_senders_end,
    faults::nonsense_on_the_socket_costs_the_manager_its_life_and_no_other,
    fd_store::what_hangs_up_is_closed_and_nobody_waits_for_it_any_more,
    fd_store::a_store_that_is_full_and_a_name_of_ours_are_refused,
    managers::kill_9_of_the_manager_kills_nothing_and_loses_nothing,
    managers::a_manager_that_does_not_answer_is_replaced,
    managers::a_manager_that_cannot_start_ends_the_daemon_with_its_code,
    managers::a_second_daemon_is_refused_and_told_who_holds_the_lock,
    managers::signals_for_the_daemon_wait_for_a_manager,
    managers::the_daemon_ends_when_the_manager_says_so,
    managers::the_last_order_counts_even_if_the_manager_left_facts_unread,
    managers::the_init_system_hears_the_keeper,
    managers::a_manager_of_another_version_is_told_ours,
    managers::what_a_removed_unit_held_is_let_go,
    managers::an_instance_writes_to_the_log_of_its_template_and_leaves_nothing_behind,
    faults::services_survive_their_keeper_and_the_next_one_takes_them_over,
    faults::output_and_sockets_outlive_a_keeper_without_an_init_system,
    upgrades::an_upgrade_touches_no_process_and_loses_nothing,
    upgrades::a_program_that_does_not_understand_is_not_run,
    upgrades::a_manager_that_does_not_get_ready_brings_the_old_program_back,
    upgrades::of_50_bad_releases_none_stays_and_no_service_notices,
    upgrades::after_200_upgrades_everything_is_what_it_was,
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let Some(code) = roles::play(&arguments) {
        return code;
    }
    harness::run(TESTS, &arguments)
}
