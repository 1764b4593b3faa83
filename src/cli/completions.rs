//! Scripts that complete commands, options and unit names, made from the definition of the command line.

use std::fmt::Write;

use clap::{Arg, Command, CommandFactory};

use super::{
    args::{Cli, Shell},
    context::print,
    exit::Exit,
    failure::Failure,
};

/// `completions`
pub(crate) fn run(shell: Shell) -> Result<Exit, Failure> {
    print(script(shell).as_bytes())?;
    Ok(Exit::DONE)
}

/// What can follow a command.
struct Entry {
    name: String,
    about: String,
    options: Vec<String>,
    units: bool,
}

fn entries() -> Vec<Entry> {
    let mut cli = Cli::command();
    cli.build();
    let visible = cli.get_subcommands().filter(|command| !command.is_hide_set());
    visible
        .map(|command| Entry {
            name: command.get_name().to_owned(),
            about: command.get_about().map(ToString::to_string).unwrap_or_default(),
            options: options(command),
            units: command.get_positionals().any(takes_units),
        })
        .collect()
}

fn options(command: &Command) -> Vec<String> {
    let long = command.get_arguments().filter_map(Arg::get_long);
    long.map(|name| format!("--{name}")).collect()
}

fn takes_units(arg: &Arg) -> bool {
    arg.get_value_names().is_some_and(|names| names.iter().any(|name| name == "UNIT"))
}

fn script(shell: Shell) -> String {
    match shell {
        Shell::Bash => bash(&entries()),
        Shell::Zsh => zsh(&entries()),
        Shell::Fish => fish(&entries()),
    }
}

fn bash(entries: &[Entry]) -> String {
    let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    let mut out = String::from(
        "# bash completion for supervisorctl\n_supervisorctl() {\n    local word=${COMP_WORDS[COMP_CWORD]} command= i\n    \
         for ((i = 1; i < COMP_CWORD; i++)); do\n        case ${COMP_WORDS[i]} in\n            --socket|--url|--token-file) ((i++)) ;;\n            \
         -*) ;;\n            *) command=${COMP_WORDS[i]}; break ;;\n        esac\n    done\n    local words=\n    case $command in\n",
    );
    writeln!(out, "        '') words='{} help' ;;", names.join(" ")).ok();
    for entry in entries {
        let units = if entry.units { " $(supervisorctl list --names 2>/dev/null)" } else { "" };
        writeln!(
            out,
            "        {}) if [[ $word == -* ]]; then words='{}'; else words=\"{}\"; fi ;;",
            entry.name,
            entry.options.join(" "),
            units.trim_start()
        )
        .ok();
    }
    out.push_str("    esac\n    COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n}\ncomplete -o default -F _supervisorctl supervisorctl\n");
    out
}

fn zsh(entries: &[Entry]) -> String {
    let mut out = String::from("#compdef supervisorctl\n_supervisorctl() {\n    local -a commands=(\n");
    for entry in entries {
        writeln!(out, "        '{}:{}'", entry.name, entry.about.replace('\'', "'\\''").replace(':', "\\:")).ok();
    }
    out.push_str("    )\n    local command=${words[(r)[a-z]*]}\n    if (( CURRENT == 2 )); then _describe command commands; return; fi\n    command=${words[2]}\n    case $command in\n");
    for entry in entries {
        let units =
            if entry.units { "compadd -- ${(f)\"$(supervisorctl list --names 2>/dev/null)\"}" } else { "_files" };
        writeln!(
            out,
            "        {}) if [[ $PREFIX == -* ]]; then compadd -- {}; else {units}; fi ;;",
            entry.name,
            entry.options.join(" "),
        )
        .ok();
    }
    out.push_str("    esac\n}\ncompdef _supervisorctl supervisorctl\n");
    out
}

fn fish(entries: &[Entry]) -> String {
    let mut out = String::from("# fish completion for supervisorctl\n");
    for entry in entries {
        let (name, about) = (&entry.name, entry.about.replace('\'', "\\'"));
        writeln!(out, "complete -c supervisorctl -f -n __fish_use_subcommand -a '{name}' -d '{about}'").ok();
        let condition = format!("-n '__fish_seen_subcommand_from {name}'");
        for option in &entry.options {
            writeln!(out, "complete -c supervisorctl {condition} -l {}", option.trim_start_matches('-')).ok();
        }
        if entry.units {
            writeln!(out, "complete -c supervisorctl -f {condition} -a '(supervisorctl list --names 2>/dev/null)'")
                .ok();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn each_command_is_completed_in_each_shell() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell);
            for entry in entries() {
                assert!(script.contains(&entry.name), "{shell:?} does not know {}", entry.name);
            }
            assert!(script.contains("list --names"), "{shell:?} completes no units");
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the shell that reads the script judges it")]
    fn bash_completes_commands_units_and_options() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(script(Shell::Bash).as_bytes()).unwrap();
        let complete = |words: &str| {
            let line = format!(
                "supervisorctl() {{ [[ $* == 'list --names' ]] && printf 'web\\nworker\\n'; }}; . {}; \
                 COMP_WORDS=(supervisorctl {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _supervisorctl; echo \"${{COMPREPLY[*]}}\"",
                file.path().display()
            );
            let output = std::process::Command::new("bash").args(["--norc", "-c", &line]).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        assert_eq!(complete("rest"), "restart");
        assert_eq!(complete("restart w"), "web worker");
        assert_eq!(complete("--socket /s stop wo"), "worker");
        assert_eq!(complete("check --no"), "--no-restart");
        assert_eq!(complete("reload-config w"), "");
    }
}
