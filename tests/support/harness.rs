//! As much of the test protocol of cargo and nextest as a program needs that is more than its tests.
use std::{panic, process::ExitCode};

/// A test and its name.
pub(crate) type Test = (&'static str, fn());

/// Lists a module's tests under its name.
macro_rules! tests {
    ($($module:ident :: $name:ident),* $(,)?) => {
        &[$((concat!(stringify!($module), "::", stringify!($name)), $module::$name as fn())),*]
    };
}
pub(crate) use tests;

/// Lists the tests or runs those that are asked for, one after the other.
pub(crate) fn run(tests: &[Test], arguments: &[String]) -> ExitCode {
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if has("--list") {
        if !has("--ignored") {
            tests.iter().for_each(|(name, _)| println!("{name}: test"));
        }
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let matches = |name: &str| {
        wanted.is_empty() || wanted.iter().any(|word| if has("--exact") { name == *word } else { name.contains(*word) })
    };
    let failed = tests.iter().filter(|(name, _)| matches(name)).filter(|(name, test)| {
        let passed = panic::catch_unwind(test).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        !passed
    });
    if failed.count() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
