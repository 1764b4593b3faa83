//! Folders of unit files and what loading them says. `tests/units/NAME/expected` holds the text; set
//! `UPDATE_EXPECTED=1` to write it anew, then read the difference.
#![expect(clippy::expect_used, reason = "a helper of tests stops the test")]

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use roundsman::unit::{self, Problem, SourceText, UnitDef};

/// Loads the folder's units and compares what comes out with `expected`.
fn check(case: &str) {
    check_units(case, |_| true);
}

/// The same with only what the units listen on.
fn check_sockets(case: &str) {
    check_as(case, |_| true, |unit| format!("{}: {:#?}", unit.name, unit.sockets));
}

/// The same with only some of the loaded units shown.
fn check_units(case: &str, shown: fn(&str) -> bool) {
    check_as(case, shown, |unit| format!("{unit:#?}"));
}

fn check_as(case: &str, shown: fn(&str) -> bool, view: fn(&UnitDef) -> String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/units").join(case);
    let mut paths = Vec::new();
    unit_files(&folder, &mut paths);
    paths.sort();
    let source = |path: &PathBuf| {
        let shown = path.strip_prefix(&folder).expect("it is in the folder");
        SourceText::new(shown, fs::read(path).expect("a readable file")).expect("a path of a unit")
    };
    let sources: Vec<SourceText> = paths.iter().map(source).collect();
    let found = match unit::load(&sources) {
        Ok(loaded) => {
            let mut text = problems(&loaded.warnings);
            for unit in loaded.set.units.values().filter(|unit| shown(unit.name.as_str())) {
                writeln!(text, "{}", view(unit)).expect("a string takes all");
            }
            text
        }
        Err(all) => problems(&all),
    };
    let expected = folder.join("expected");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&expected, &found).expect("a writable folder");
    }
    let wanted = fs::read_to_string(&expected).expect("a file named expected");
    assert!(found == wanted, "{case}: expected\n{wanted}\nfound\n{found}");
}

fn problems(list: &[Problem]) -> String {
    list.iter().map(|problem| format!("{problem}\n")).collect()
}

fn unit_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            unit_files(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "toml") {
            found.push(path);
        }
    }
}

#[test]
fn the_unit_of_the_manual_loads() {
    check("design");
}

#[test]
fn what_is_not_written_is_as_in_systemd() {
    check("defaults");
}

#[test]
fn every_key_lands_in_its_field() {
    check_units("every_key", |name| name == "all");
}

#[test]
fn every_key_of_the_sandbox_lands_in_its_field() {
    check("sandbox");
}

#[test]
fn a_sandbox_that_cannot_be_meant_so_is_reported() {
    check("sandbox_wrong");
}

#[test]
fn every_key_of_resource_control_lands_in_its_field() {
    check_units("resources", |name| name == "all");
}

#[test]
fn amounts_that_make_no_sense_are_refused() {
    check("resources_wrong");
}

#[test]
fn what_a_probe_lacks_is_said() {
    check("health_errors");
}

#[test]
fn an_external_service_is_one_without_a_process_of_ours() {
    check("external");
}

#[test]
fn what_an_external_service_cannot_have_is_refused_by_name() {
    check("external_errors");
}

#[test]
fn a_mistyped_word_is_answered_with_the_likely_one() {
    check("typos");
}

#[test]
fn what_systemd_has_and_we_have_not_is_refused() {
    check("unsupported");
}

#[test]
fn every_wrong_value_is_reported_at_its_place() {
    check("wrong_values");
}

#[test]
fn a_faulty_command_line_is_reported_at_its_column() {
    check("exec_lines");
}

#[test]
fn drop_ins_change_the_unit_in_the_order_of_their_names() {
    check_units("dropins", |name| name == "web");
}

#[test]
fn a_problem_of_a_drop_in_names_the_drop_in() {
    check("dropin_errors");
}

#[test]
fn a_template_makes_the_instances_that_someone_names() {
    check("templates");
}

#[test]
fn a_template_that_accepts_is_a_unit_that_listens() {
    check_sockets("accepting");
}

#[test]
fn what_is_wrong_with_accepting_is_said() {
    check("accepting_errors");
}

#[test]
fn what_is_wrong_with_a_template_is_said_once() {
    check("template_errors");
}

#[test]
fn a_target_pulls_in_what_wants_to_be_in_it_and_comes_after_it() {
    check_units("targets", |name| name == "web.target");
}

#[test]
fn a_target_runs_nothing() {
    check("target_errors");
}

#[test]
fn relations_to_nowhere_and_to_oneself_are_found() {
    check("relations");
}

#[test]
fn a_circle_of_orders_is_shown_with_its_files() {
    check("cycle");
}

#[test]
fn two_units_cannot_hold_one_address() {
    check("sockets");
}

#[test]
fn sockets_keep_the_order_of_the_file_across_kinds_and_drop_ins() {
    check_sockets("listening");
}

#[test]
fn what_an_option_of_sockets_cannot_do_is_said() {
    check("listening_meaning");
}

#[test]
fn values_that_do_not_go_together_are_refused() {
    check("meaning");
}

#[test]
fn faulty_probes_are_reported() {
    check("health");
}

#[test]
fn faulty_timers_are_reported() {
    check("timers");
}

#[test]
fn broken_syntax_hides_no_other_problem() {
    check("syntax");
}

#[test]
fn every_folder_is_a_case() {
    let folders = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/units")).expect("a readable folder");
    let text = include_str!("units.rs");
    for folder in folders {
        let name = folder.expect("a readable folder").file_name().into_string().expect("a name in UTF-8");
        assert!(text.contains(&format!("(\"{name}\"")), "no test for {name}");
    }
}

#[test]
fn what_probes_depend_on_exists_and_runs_in_no_circle() {
    check("probe_order");
}
