//! The completions for bash, zsh and fish: what clap_complete makes of the parser, and the names
//! of the watchers, which only the daemon knows.
//!
//! Not here: completion in the shell of `circusctl` itself.

use clap_complete::Shell;

use crate::cli::command::{Arg, Command, Form, Kind};
use crate::cli::{commands, parser};

/// In each of the three languages the call is the same, and says nothing when nobody answers.
const WATCHERS: &str = "circusctl --timeout 1 list 2>/dev/null";

/// The completions for `shell`.
///
/// # Panics
///
/// For shells other than bash, zsh and fish.
pub fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut parser::root(), "circusctl", &mut script);
    let script = String::from_utf8(script).expect("the table of commands is text");
    let script = match shell {
        Shell::Bash => bash(&script),
        Shell::Zsh => zsh(&script),
        Shell::Fish => fish(&script),
        other => panic!("there are no completions for {other}"),
    };
    script.trim_end().to_owned() + "\n"
}

/// The argument of `row` that is the name of a watcher, if there is one.
fn watcher(row: &Command) -> Option<&Arg> {
    row.args.iter().find(|arg| match arg.form {
        Form::One(kind) | Form::Maybe(kind) | Form::Many(kind) | Form::Some(kind) => {
            matches!(kind, Kind::Watcher | Kind::Pattern)
        }
        Form::Last(_) | Form::Rest(_) | Form::Switch | Form::Value(_) => false,
    })
}

/// The words of a command begin with its flags; the names come before them.
fn bash(script: &str) -> String {
    let mut text = format!("_circusctl_watchers() {{\n    {WATCHERS}\n}}\n\n");
    let mut takes_watchers = false;
    for line in script.lines() {
        if let Some(name) = line.trim().strip_prefix("circusctl__subcmd__") {
            let row = name.strip_suffix(')').and_then(commands::find);
            takes_watchers = row.is_some_and(|row| watcher(row).is_some());
        }
        let words = line
            .strip_prefix("            opts=\"")
            .filter(|_| takes_watchers);
        match words {
            Some(words) => text.push_str(&format!(
                "            opts=\"$(_circusctl_watchers) {words}"
            )),
            None => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

/// An argument is described as `name -- help:action`, with no action for names.
fn zsh(script: &str) -> String {
    const HEAD: &str = "#compdef circusctl\n";
    let rest = script
        .strip_prefix(HEAD)
        .expect("zsh finds a completion by its first line");
    let mut rest = rest.to_owned();
    for arg in commands::all().filter_map(watcher) {
        let described = format!("{} -- {}:'", arg.name, arg.help);
        let acting = format!("{} -- {}:_circusctl_watchers'", arg.name, arg.help);
        rest = rest.replace(&described, &acting);
    }
    format!(
        "{HEAD}\n_circusctl_watchers() {{\n    local -a watchers\n    \
         watchers=(${{(f)\"$({WATCHERS})\"}})\n    compadd -a watchers\n}}\n{rest}"
    )
}

fn fish(script: &str) -> String {
    let mut text = script.to_owned();
    for row in commands::all().filter(|row| watcher(row).is_some()) {
        text.push_str(&format!(
            "complete -c circusctl -n \"__fish_circusctl_using_subcommand {}\" -f -a \"({WATCHERS})\"\n",
            row.name,
        ));
    }
    text
}
