//! The whole daemon with real processes: supervisord as it ships, driven by supervisorctl as it ships. The test program
//! is also the services of its tests.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test program that is its own harness"
)]

/// The daemon itself, which this program can also be: with a thread of the test's in it.
#[path = "../../src/bin/supervisord.rs"]
mod supervisord;
#[path = "../support/daemon/mod.rs"]
mod support;

mod accept; // connections
mod actor; // what its services do
mod alerts; // who is told
mod hushed; // what people say of alerts
mod commands; // routes that run a command
mod routes; // how each kind of route speaks
mod churn; // a day at once
mod crowd; // a thousand die at once
mod config; // files that are wrong
mod doctor; // what is wrong here
mod examples; // units that people copy
mod deliveries; // alerts that leave while managers die
mod directories; // what is made for a service
mod exec; // what a service is given
mod external; // services that others keep
mod faults; // the machine goes wrong
mod fd_store; // what services keep with us
mod fleet; // several machines
mod health; // services that are not well
mod history; // what was
mod keeper; // the keeper is killed
mod kinds; // when a service is up
mod life; // the daemon's own life
mod logs; // what services write
mod memory; // there is none left
mod metrics; // what Prometheus is told
mod manager; // the manager is killed, again and again
mod notify; // who is believed
mod order;
mod probes; // who goes first
mod panics; // the daemon's own code is wrong
mod reload; // files that change
mod templates; // instances and targets
mod resources; // what units ask of the machine
mod restart; // services that die
mod causes; // why something ended or does not begin
mod said; // what is said of a failure
mod root; // services below a root of their own
mod sandbox; // services that are shut in
mod set_up; // what comes before the program fails
mod shortage; // there are no more processes, or no time for all of them
mod lazy; // services that wait for traffic
mod sockets; // sockets that the keeper holds
mod stop; // what is to go, goes
mod stuck; // what stands still
mod strangers; // pids that are others' by now
mod store; // the database and its disk
mod syscalls; // a kill at each system call
mod timers; // units that are started by time
mod wild; // services that signal whomever they can

use std::{env, process::ExitCode};

use support::harness::{self, Test, tests};

const TESTS: &[Test] = tests![
    fleet::clocks_that_differ_by_hours_change_no_decision,
    fleet::a_restart_goes_over_the_machines_in_order_and_each_is_restarted_once,
    fleet::what_is_in_the_way_of_a_plan_is_said_and_nothing_begins,
    fleet::another_machine_goes_on_with_a_plan_whose_driver_died,
    fleet::a_fleet_that_loses_redis_does_nothing_and_goes_on_when_it_is_back,
    fleet::a_plan_that_met_a_failure_waits_for_someone_and_says_what_became_of_each,
    fleet::an_aborted_plan_leaves_alone_what_it_had_not_begun,
    fleet::no_request_fails_while_servers_behind_a_load_balancer_are_restarted,
    fleet::what_depends_on_a_service_that_restarted_by_itself_is_told_once_that_is_well,
    fleet::no_step_is_done_twice_or_left_out_however_often_the_manager_that_drives_dies,
    fleet::a_plan_that_someone_has_to_agree_to_waits_and_what_is_agreed_to_is_that_plan,
    fleet::a_host_without_a_daemon_is_enrolled_and_restarted_in_its_turn,
    fleet::what_is_not_sound_is_left_alone_and_who_is_to_be_notified_is_told_by_its_command,
    fleet::a_host_that_hangs_or_floods_is_out_of_reach_in_time_and_no_ssh_is_left,
    fleet::however_often_the_way_to_a_host_is_cut_each_step_is_done_once,
    fleet::outside_of_windows_nothing_is_begun_unless_someone_says_so,
    fleet::a_plan_whose_window_closes_waits_for_the_next_one,
    fleet::no_request_fails_while_servers_behind_nginx_are_restarted,
    fleet::a_load_balancer_behind_a_command_is_asked_told_and_believed,
    fleet::instances_behind_consul_are_drained_before_they_are_restarted_and_offered_when_they_are_well,
    fleet::an_instance_that_is_deregistered_is_registered_again_though_the_managers_die_in_between,
    fleet::the_scenario_of_the_operators_guide_goes_as_it_is_written,
    fleet::the_scenario_goes_on_though_its_driver_dies_at_each_step,
    fleet::a_reload_that_lies_is_found_out_and_followed_by_a_restart_where_that_is_wanted,
    fleet::a_machine_that_is_cut_off_in_the_middle_of_a_plan_is_waited_for_and_nothing_is_done_twice,
    fleet::a_plan_goes_on_when_redis_fails_over_to_its_replica,
    fleet::the_key_of_a_node_opens_nothing_but_our_program_and_twenty_copies_of_a_step_are_done_once,
    fleet::a_host_with_another_key_is_spoken_to_only_when_someone_says_that_it_was_set_up_anew,
    fleet::a_step_at_a_host_is_done_once_though_the_manager_dies_while_it_is_done,
    fleet::what_comes_twice_late_or_in_another_order_is_done_once,
    fleet::a_redis_that_goes_back_to_what_it_knew_takes_no_plan_and_no_number_back,
    fleet::a_step_whose_outcome_is_not_heard_because_the_way_is_cut_is_done_once,
    fleet::a_machine_that_another_one_reaches_is_cut_off_and_has_failed_once_nobody_reaches_it,
    fleet::a_machine_that_stands_still_is_told_of_once_and_so_is_its_return,
    fleet::a_fleet_without_redis_says_so_and_nothing_of_its_machines_and_touches_no_service,
    fleet::a_plan_that_waits_for_someone_is_told_of_and_so_is_that_it_goes_on,
    accept::each_connection_is_an_instance_with_its_client_as_standard_input,
    accept::an_instance_gets_its_connection_as_descriptor_3_and_knows_its_client,
    accept::a_client_on_the_same_link_is_told_with_its_interface,
    accept::a_start_says_why_it_cannot_listen,
    accept::connections_above_the_limits_are_closed_and_the_others_served,
    accept::a_stop_refuses_clients_and_leaves_those_that_are_served,
    accept::a_template_that_connections_start_too_often_fails,
    accept::kill_9_of_the_manager_closes_no_connection_that_is_served,
    accept::whoever_connects_while_managers_die_is_served_or_told,
    accept::hundreds_of_connections_in_turn_leave_nothing_behind,
    accept::a_manager_without_descriptors_keeps_clients_waiting_and_restarts_others,
    alerts::an_incident_of_many_restarts_is_one_alert_and_one_recovery_by_webhook_and_slack,
    alerts::a_route_that_a_reload_brings_is_told_and_a_bad_file_changes_nothing,
    alerts::a_clean_stop_and_the_end_of_the_daemon_alert_nobody,
    alerts::an_incident_outlasts_the_end_of_the_daemon_and_people_hear_its_end,
    alerts::the_manager_killed_in_the_middle_of_an_incident_tells_it_once,
    alerts::a_receiver_that_fails_first_gets_the_alert_once,
    alerts::alertmanager_has_one_alert_while_the_incident_lasts,
    alerts::an_incident_is_two_mails_over_tls_and_a_server_that_is_busy_gets_the_same_one_again,
    alerts::a_mail_server_that_does_not_know_us_is_named_by_health_and_no_password_is_shown,
    alerts::a_failure_after_a_reset_is_another_incident_though_nothing_of_that_was_written_down,
    alerts::a_manager_that_begins_without_its_database_tells_no_incident_twice_and_its_end_once,
    hushed::what_outlasts_its_silence_is_told_when_that_ends_whoever_was_killed_meanwhile,
    hushed::what_nobody_takes_on_goes_to_others_and_what_someone_does_does_not,
    hushed::check_leaves_alone_what_is_in_maintenance,
    hushed::a_silence_that_is_about_nothing_is_made_and_says_so,
    hushed::a_disk_that_a_probe_finds_short_is_an_alert_until_it_has_room,
    hushed::a_disk_that_is_as_good_as_full_is_critical_and_check_restarts_nothing_for_it,
    routes::a_webhook_gets_the_body_that_it_wants_signed_and_with_what_the_service_said_last,
    routes::a_route_that_is_gone_is_neither_up_nor_down,
    routes::an_app_of_slack_has_one_thread_for_an_incident_also_over_a_dead_manager,
    routes::an_app_that_slack_does_not_know_is_named_by_health_and_by_a_test_of_the_route,
    routes::the_heartbeat_beats_while_alerts_reach_people_and_ends_with_the_daemon,
    commands::a_message_reaches_a_command_once_as_json_and_in_variables_and_nothing_of_it_is_an_argument,
    commands::exit_75_is_asked_again_and_any_other_refuses_by_what_it_says,
    commands::a_command_runs_as_its_user,
    commands::a_program_that_is_not_there_is_refused_at_load_and_one_that_goes_is_named,
    commands::a_command_that_hangs_is_killed_with_its_tree_and_delays_neither_a_restart_nor_another_route,
    commands::a_manager_that_is_killed_while_a_command_runs_ends_it_and_tells_the_message_again,
    commands::an_upgrade_while_a_command_runs_ends_it_and_tells_the_message_again,
    commands::a_keeper_that_is_killed_while_a_command_runs_leaves_it_to_the_next_which_ends_it,
    commands::the_end_of_the_daemon_leaves_nothing_of_a_command_and_the_next_tells_its_message,
    commands::a_route_whose_server_is_gone_falls_back_to_a_command_which_is_told_once,
    commands::a_test_of_a_route_waits_for_the_message_under_way_and_two_never_run_at_once,
    commands::a_command_that_ends_while_there_is_no_manager_is_told_again_as_a_possible_duplicate,
    churn::a_days_deaths_leave_everything_as_it_was,
    config::what_this_host_has_not_is_refused_at_its_line_with_all_else_that_is_wrong,
    config::a_program_that_is_missing_is_named_with_step_and_cause,
    config::a_user_that_is_not_there_is_refused_at_load,
    config::what_cannot_be_read_is_named,
    config::a_circle_is_refused_by_its_names,
    config::every_mistake_is_named_at_once_with_its_place_and_the_likely_word,
    config::units_that_are_broken_when_the_manager_starts_anew_run_on_as_they_were,
    config::a_daemon_that_has_nothing_to_go_on_with_ends_with_78,
    crowd::a_thousand_services_that_die_at_once_are_back_at_once_and_each_is_counted_once,
    directories::a_runtime_directory_is_new_for_each_run_and_gone_with_the_last,
    directories::a_runtime_directory_is_kept_over_restarts_and_the_managers_death_where_the_unit_says_so,
    directories::a_manager_that_is_killed_leaves_no_directory_behind,
    directories::credentials_are_for_the_service_alone_and_nobody_else_says_them,
    directories::its_directories_can_be_written_where_all_else_cannot,
    directories::what_a_service_cannot_have_fails_its_start_by_name,
    deliveries::no_incident_is_untold_and_none_told_twice_unsaid_however_often_the_manager_dies,
    doctor::a_world_that_is_well_is_said_to_be,
    doctor::the_daemon_that_is_named_says_where_its_settings_are,
    doctor::whoever_has_a_units_port_is_named,
    doctor::a_secret_that_everyone_can_read_and_a_unit_that_everyone_can_change_are_found,
    doctor::a_probe_that_cannot_ask_for_want_of_its_secret_or_its_program_is_found,
    doctor::a_disk_that_is_full_has_no_files_left_or_is_read_only_is_found,
    doctor::a_resolver_that_hangs_is_found_and_holds_nothing_up,
    doctor::a_service_that_outlived_keeper_and_manager_is_found_until_a_daemon_has_it_again,
    doctor::a_redis_that_is_not_what_it_should_be_is_no_failed_connection,
    doctor::a_damaged_database_a_dead_redis_and_a_daemon_that_hangs_are_found,
    doctor::whatever_cannot_be_used_is_said_by_its_place_and_the_rest_is_looked_at,
    doctor::a_program_that_cannot_be_started_is_found,
    doctor::files_of_variables_that_are_missing_and_limits_that_cannot_be_given_are_found,
    doctor::files_that_are_not_what_is_in_force_are_named,
    examples::a_service_that_people_copy_comes_back_four_times_and_is_then_given_up_and_told,
    examples::what_the_shipped_files_say_without_a_drop_in_is_ten_seconds_and_five_starts_in_three_hundred,
    examples::the_line_for_cron_writes_what_it_found_and_says_it_by_its_exit_code,
    exec::a_service_gets_exactly_its_environment_and_descriptors,
    exec::a_service_runs_as_its_unit_says,
    exec::a_service_that_says_nothing_of_open_files_has_as_many_as_under_systemd,
    exec::what_the_host_does_not_let_it_have_is_shown_also_by_the_next_manager,
    exec::a_service_begins_with_no_signal_blocked_and_sigpipe_as_its_unit_says,
    faults::who_holds_the_database_delays_no_restart_and_costs_no_count,
    faults::a_state_directory_that_turned_read_only_delays_no_restart_and_costs_no_count,
    faults::without_descriptors_what_runs_is_still_restarted,
    faults::a_clock_that_is_set_changes_no_decision,
    faults::a_machine_that_was_paused_costs_no_service_and_no_manager_its_life,
    faults::a_log_disk_that_is_slow_delays_no_restart_and_no_answer,
    faults::a_log_disk_that_is_slow_or_hangs_delays_no_output_that_goes_to_another,
    faults::a_disk_that_hangs_below_a_sandbox_holds_its_service_and_nobody_else,
    faults::a_disk_that_hangs_below_a_file_of_variables_holds_its_service_and_nobody_else,
    faults::a_disk_that_hangs_below_a_folder_of_path_holds_its_service_and_nobody_else,
    faults::a_hundred_services_whose_disk_hangs_hold_none_whose_disk_does_not,
    faults::a_service_that_closes_its_output_costs_nobody_anything,
    set_up::a_program_that_cannot_be_run_is_told_by_kind_and_path_and_no_shell_tries_it,
    set_up::a_set_up_that_the_kernel_refuses_is_told_by_step_and_its_program_does_not_run,
    set_up::a_service_that_cannot_become_its_user_never_runs_as_another,
    shortage::a_keeper_that_cannot_fork_loses_no_service_and_counts_no_crash,
    shortage::a_user_with_too_many_processes_loses_no_service,
    shortage::a_probe_that_cannot_be_forked_condemns_no_service,
    shortage::a_hundred_slow_starters_delay_no_restart_and_no_answer,
    fd_store::what_a_service_stores_is_passed_to_its_next_run_whoever_died_meanwhile,
    fd_store::a_store_ends_with_what_the_unit_says,
    fd_store::status_counts_a_store_and_one_that_is_kept_for_good_is_emptied_by_clean,
    fd_store::a_service_that_fails_for_good_keeps_nothing,
    fd_store::one_too_many_is_closed_at_once_and_a_unit_that_may_keep_none_keeps_none,
    fd_store::what_has_hung_up_is_closed_unless_the_service_wants_it_kept,
    fd_store::what_comes_when_the_service_is_down_is_not_kept,
    fd_store::what_hangs_up_after_an_upgrade_is_closed,
    health::a_service_that_answers_badly_is_restarted_by_its_http_probe,
    health::exec_and_tcp_probes_see_what_is_wrong,
    health::check_speaks_in_the_exit_codes_of_monitoring,
    health::check_leaves_alone_what_is_still_starting,
    health::a_probe_that_hangs_delays_nothing,
    health::a_monitoring_plugin_speaks_by_its_exit_code,
    health::a_redis_server_is_asked_what_it_is,
    health::tls_is_spoken_with_ones_own_authority_and_certificates_are_watched,
    causes::a_restart_by_a_probe_names_it_its_failures_and_what_it_said,
    causes::a_restart_by_check_is_told_to_people_before_the_probe_has_a_verdict,
    causes::who_sent_the_signal_that_ended_a_run_is_on_record,
    causes::a_file_or_program_that_is_not_there_is_named_to_everybody,
    causes::after_a_managers_death_people_read_what_they_read_before,
    causes::a_start_that_waits_for_a_probe_of_another_says_so_while_it_does,
    said::a_unit_that_is_not_healthy_says_which_probe_since_when_and_why_whoever_died_meanwhile,
    said::the_last_output_of_a_run_is_its_own_however_soon_the_next_one_follows,
    said::a_restart_is_two_lines_of_the_log_and_what_this_host_lacks_is_said_once,
    said::health_is_unhealthy_where_somebody_must_act_and_degraded_where_that_can_wait,
    said::a_service_that_dies_again_and_again_is_one_incident_whoever_is_killed_meanwhile,
    said::a_manager_that_takes_over_does_not_log_the_past_as_if_it_were_now,
    said::a_restart_by_check_bears_its_name_whoever_died_meanwhile,
    said::the_class_beside_the_last_exit_is_that_exits,
    said::a_probe_that_was_corrected_is_in_force_with_the_reload_and_nothing_is_restarted,
    probes::a_signed_upload_that_comes_back_is_a_check,
    probes::a_secret_that_others_can_read_is_refused_at_load,
    probes::a_line_that_a_service_writes_is_news_once,
    probes::what_a_command_says_is_the_reason,
    probes::a_probe_of_a_dead_manager_is_ended_and_asked_again,
    probes::of_twenty_probes_behind_a_dead_host_one_is_an_incident,
    probes::a_broken_dependency_restarts_no_more_than_the_budget,
    probes::in_maintenance_no_probe_restarts,
    probes::a_resolver_that_is_slow_delays_nobody_else,
    probes::a_name_outlives_its_resolver_for_a_while,
    probes::an_expired_certificate_is_a_bad_answer,
    history::an_export_has_every_run_once_in_order_over_many_pages,
    history::rows_beyond_what_is_kept_go,
    external::a_service_of_commands_is_kept_up_through_them,
    external::a_process_of_supervisor_is_kept_up_through_it,
    external::a_process_that_supervisor_cannot_start_says_whose_exit_code_is_shown,
    external::our_own_program_is_never_taken_for_supervisors,
    external::one_that_is_asked_as_the_daemon_ends_is_started_by_the_next,
    kinds::a_daemon_with_a_pid_file_is_followed_through_its_life,
    kinds::a_daemon_without_a_pid_file_is_guessed_and_a_group_of_daemons_lives_as_long_as_one,
    kinds::a_pid_file_that_names_a_stranger_is_not_believed_unless_root_wrote_it,
    kinds::a_service_that_hands_over_to_another_process_lives_on,
    kinds::a_reload_by_signal_waits_until_the_service_says_that_it_is_done,
    kinds::a_condition_that_says_no_keeps_a_service_down_without_failure,
    kinds::exit_type_cgroup_keeps_a_service_up_while_any_process_lives,
    keeper::kill_9_of_the_keeper_again_and_again_doubles_orphans_and_loses_nothing,
    keeper::an_end_that_nobody_saw_is_told_as_it_was_or_as_unknown,
    keeper::where_the_init_system_reaps_nobody_each_end_is_told_as_it_was,
    keeper::a_start_of_which_nobody_will_hear_is_over_at_the_next_one,
    keeper::what_a_dead_keeper_leaves_ends_with_the_test,
    keeper::a_manager_that_cannot_begin_says_why_before_it_is_ended,
    keeper::a_control_socket_that_the_dead_have_open_still_is_replaced,
    keeper::after_a_reboot_nothing_is_taken_over_and_everything_starts,
    syscalls::sigkill_at_any_system_call_of_the_keeper_doubles_and_miscounts_nothing,
    syscalls::sigkill_at_any_system_call_of_the_manager_doubles_and_miscounts_nothing,
    life::a_second_daemon_is_refused_and_told_who_is_there,
    life::of_daemons_that_race_one_begins_and_each_other_names_it,
    life::it_goes_on_when_nobody_reads_its_log,
    life::sigterm_stops_everything_and_ends_with_0,
    life::the_socket_goes_with_the_daemon_and_another_ones_stays,
    life::an_upgrade_in_place_touches_no_service,
    life::supervisorctl_upgrade_says_what_runs_then_or_why_not,
    life::a_program_that_does_not_know_the_database_is_refused_beforehand_and_at_start,
    life::an_upgrade_needs_no_room_in_the_runtime_directory,
    life::a_storm_of_reload_signals_is_a_few_reloads_and_restarts_nothing,
    life::an_upgrade_with_broken_files_goes_on_with_what_was_in_force,
    life::a_unit_whose_end_is_the_daemons_gives_it_its_exit_status,
    life::who_was_taken_over_from_a_dead_keeper_is_still_watched_after_an_upgrade,
    life::as_pid_1_it_reaps_orphans_and_sigterm_ends_it,
    logs::a_flood_of_output_delays_no_status_and_is_captured_or_counted,
    logs::no_line_is_lost_doubled_or_torn_by_twenty_kills_of_the_manager,
    logs::a_follower_sees_each_matching_line_once_over_rotation_packing_and_kills,
    logs::a_line_is_seen_by_a_follower_at_once_and_has_its_time,
    logs::a_child_that_outlives_its_service_holds_up_no_stop_and_is_still_heard,
    logs::the_last_words_of_a_service_are_captured_when_the_daemon_ends,
    logs::a_line_without_end_is_cut_for_readers_and_costs_the_manager_no_memory,
    logs::a_full_disk_loses_what_the_unit_allows_and_nothing_else,
    logs::a_rate_limit_and_forwarding_take_effect_and_are_changed_by_a_reload,
    memory::the_keeper_is_the_last_to_be_killed_for_memory_and_its_children_have_their_own_score,
    memory::a_keeper_whose_group_runs_out_of_memory_again_and_again_lives_and_restarts,
    memory::a_keeper_that_can_have_no_more_memory_goes_on_reaping_and_restarting,
    manager::a_manager_that_finds_its_settings_broken_goes_on_with_those_in_force,
    manager::kill_9_of_the_manager_200_times_doubles_orphans_and_miscounts_nothing,
    metrics::promtool_finds_nothing_to_complain_of_and_counts_are_there_from_the_start,
    metrics::prometheus_itself_is_given_openmetrics,
    metrics::what_ships_for_prometheus_and_grafana_asks_for_metrics_that_there_are,
    notify::a_ready_that_another_service_sends_is_not_believed,
    notify::a_ready_from_outside_of_all_services_is_refused,
    notify::of_ten_thousand_words_from_others_a_service_is_told_none,
    notify::a_ready_that_comes_too_late_changes_nothing,
    notify::only_the_main_process_is_believed_unless_the_unit_says_all,
    notify::a_barrier_is_lifted_when_all_that_came_before_is_taken_in,
    notify::a_daemon_that_left_the_session_may_speak_where_the_unit_believes_all,
    notify::a_service_that_stops_feeding_its_watchdog_is_killed_for_it,
    order::units_start_in_order_and_stop_in_the_reverse,
    order::a_stop_takes_down_what_requires_it_and_a_restart_brings_it_back,
    order::who_is_bound_to_a_unit_that_dies_goes_with_it,
    order::a_start_stops_what_conflicts_with_it,
    order::what_was_taken_without_waiting_is_done_though_the_manager_dies_at_once,
    order::on_failure_is_started_once_and_told_who_failed,
    order::a_unit_whose_requirement_fails_does_not_start,
    reload::sighup_takes_changed_files_into_use,
    reload::reload_config_takes_changed_files_into_use,
    reload::a_bad_file_leaves_everything_as_it_was,
    reload::what_an_operator_disabled_stays_down_at_the_next_start,
    resources::a_command_that_takes_too_much_memory_stops_the_service_unless_it_is_to_continue,
    resources::a_fork_bomb_harms_nobody_else_and_goes_at_a_stop,
    resources::a_service_may_use_the_devices_that_its_unit_names,
    resources::a_service_that_forks_without_end_goes_at_a_stop,
    resources::a_service_that_takes_too_much_memory_is_ended_by_the_kernel_and_said_to_be_so,
    resources::each_kill_for_memory_is_known_from_every_other_kill,
    resources::cpus_weights_and_disks_are_what_the_unit_says,
    resources::limits_and_kills_outlive_the_manager,
    resources::nothing_of_a_units_cgroups_stays,
    resources::what_the_host_cannot_ration_is_said_or_refused,
    panics::a_thread_that_panics_ends_the_manager_and_the_next_takes_over,
    panics::a_keeper_that_panics_ends_and_the_next_takes_over,
    restart::a_service_that_is_killed_again_and_again_comes_back_and_each_end_is_told,
    restart::five_crashes_in_the_window_are_the_end_until_someone_resets,
    restart::who_exits_at_once_is_started_as_often_as_its_burst_allows_however_often_the_manager_dies,
    root::what_is_the_services_is_shown_below_its_root_whoever_is_killed,
    root::commands_have_the_root_that_their_prefix_and_the_unit_give_them,
    root::a_link_below_the_root_leads_nowhere_else,
    root::a_root_without_anything_to_mount_is_only_entered,
    sandbox::what_a_sandbox_forbids_cannot_be_done_and_can_without_it,
    sandbox::a_call_that_is_not_let_through_kills,
    sandbox::a_command_with_a_plus_is_not_shut_in,
    sandbox::a_sandbox_that_cannot_be_set_up_fails_by_name,
    sandbox::a_runs_own_tmp_outlives_the_manager_and_goes_with_the_run,
    sandbox::what_the_host_cannot_do_is_refused_or_left_out_as_the_unit_says,
    lazy::a_service_of_each_kind_starts_with_its_first_traffic_and_listens_again_when_it_is_idle,
    lazy::a_stop_ends_the_listening_and_a_start_does_not_wait_for_traffic,
    lazy::kill_9_of_the_manager_while_it_listens_loses_no_trigger_and_doubles_none,
    lazy::a_service_that_takes_nothing_is_given_up_by_the_trigger_limit,
    lazy::an_upgrade_in_place_and_a_reload_leave_it_listening,
    sockets::each_kind_is_inherited_in_the_order_of_the_file_with_owner_mode_and_links,
    sockets::no_connection_is_lost_by_200_restarts_under_load,
    sockets::a_reload_binds_what_is_new_closes_what_is_gone_and_touches_nothing_else,
    sockets::an_address_that_overlaps_with_its_predecessor_is_changed_at_the_next_start,
    sockets::a_stop_keeps_the_sockets_unless_the_unit_says_otherwise,
    sockets::what_waits_is_thrown_away_where_the_unit_says_so,
    sockets::an_owner_that_is_not_there_is_refused_at_load,
    sockets::a_port_that_is_taken_is_named_and_others_run,
    sockets::a_unit_whose_file_is_gone_gives_back_its_port,
    sockets::a_client_that_comes_while_the_service_is_dead_is_answered_by_the_next,
    sockets::nobody_is_refused_while_the_service_is_killed_twenty_times,
    templates::an_instance_is_made_when_it_is_asked_for_and_outlives_the_manager,
    templates::a_target_is_up_when_what_it_pulls_in_is_up,
    stop::who_ignores_sigterm_is_killed_at_its_deadline,
    stop::what_a_service_leaves_that_ended_without_a_manager_is_gone,
    stop::a_stop_reaches_a_command_that_the_keeper_has_yet_to_make,
    stop::a_stop_during_a_start_reaches_what_is_being_started,
    stop::of_a_thousand_grandchildren_that_left_the_session_none_survives_a_stop,
    stop::grandchildren_that_left_the_session_are_gone_after_a_stop_with_cgroups,
    stop::grandchildren_that_left_the_session_are_gone_after_a_stop_without_cgroups,
    stop::a_service_whose_cgroup_was_killed_starts_again_and_its_last_command_runs,
    stop::a_clean_end_leaves_nothing_behind,
    stop::the_last_command_is_spared_by_what_ends_the_service,
    strangers::who_has_the_pid_of_a_dead_service_is_neither_taken_over_nor_signalled,
    strangers::who_has_the_pid_in_a_pid_file_is_neither_taken_over_nor_signalled,
    stuck::a_manager_that_hangs_is_replaced_within_12_seconds_and_services_do_not_notice,
    stuck::a_process_that_cannot_die_is_told_within_5_seconds_and_never_doubled,
    stuck::a_service_that_stops_itself_shows_it_and_is_ended_by_a_stop,
    stuck::a_service_that_stops_itself_is_restarted_by_its_watchdog_and_by_its_probes,
    store::a_damaged_database_is_set_aside_and_services_come_up,
    store::a_full_disk_delays_no_restart_and_loses_no_count,
    timers::a_timer_runs_its_unit_again_and_again_and_status_says_when,
    timers::kill_9_of_the_manager_loses_and_doubles_no_elapse,
    timers::a_calendar_that_was_missed_while_the_daemon_was_down_is_made_up_for_once,
    timers::a_time_zone_that_is_not_there_is_refused_by_name,
    wild::a_service_that_kills_all_it_may_kills_neither_keeper_nor_manager_and_no_others_service,
    wild::a_service_of_roots_that_kills_everyone_leaves_a_keeper_that_brings_all_back,
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let Some(("actor", part)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return actor::play(part);
    }
    if panics::is_daemon(&arguments) {
        panics::wait_for_the_word();
        return supervisord::main();
    }
    harness::run(TESTS, &arguments)
}
