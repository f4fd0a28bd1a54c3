//! The manual pages and completions that are in the repository say what the program says.
//!
//! circusctl(1) and its completions are looked after by the room they are made in.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use circusd::api::action::{ACTIONS, Action, DENIED, Of};
use circusd::config::plugins::BuiltIn;
use circusd::{config, plugin, server};
use clap_complete::Shell;

#[path = "../common/skip.rs"]
mod skip;

mod catalog;
mod interface;
mod kept;
mod roff;

const DAEMON: &str = "man/circusd.8";
const PLUGIN: &str = "man/circus-plugin.1";
const CONFIGURATION: &str = "man/circusd.toml.5";
const INTERFACE: &str = "man/io.circusd.7";
const EVENTS: &str = "man/circusd-events.7";
const HOOKS: &str = "man/circusd-hooks.7";
const CATALOG: &str = "systemd/circusd.catalog";

/// A program, and where its flags are.
type Program = (&'static str, fn() -> clap::Command);

/// The programs whose flags are looked after here.
const PROGRAMS: [Program; 2] = [
    ("circusd", server::command),
    ("circus-plugin", plugin::command),
];

/// Whose completions there are, by what program they are read, and what stands before and behind the
/// name of the program in the name that each looks for.
const SHELLS: [(Shell, &str, &str, &str); 3] = [
    (Shell::Bash, "bash", "", ".bash"),
    (Shell::Zsh, "zsh", "_", ""),
    (Shell::Fish, "fish", "", ".fish"),
];

/// The flags of a program, one entry each.
fn options(mut command: clap::Command) -> String {
    command.build();
    let command = command.mut_arg("help", |flag| flag.help("Print help"));
    command
        .get_arguments()
        .filter(|argument| argument.get_long().is_some())
        .map(|flag| {
            let long = flag.get_long().expect("every flag has a long name");
            let value = flag.get_action().takes_values().then(|| {
                let names = flag.get_value_names().unwrap_or_default();
                names.first().expect("every value has a name").to_string()
            });
            let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
            roff::entry(&format!("--{long}"), value.as_deref(), &format!("{help}."))
        })
        .collect()
}

/// The events of watchers, or those of the daemon.
fn events(of: Of) -> String {
    let told = ACTIONS.iter().filter(|action| action.of == of);
    told.map(event).collect()
}

fn event(action: &Action) -> String {
    let mut text = roff::entry(action.name, None, action.when);
    text.push_str(".br\n");
    text.push_str(&roff::paragraph(&format!(
        "MESSAGE_ID={}",
        action.message.id
    )));
    if action.data.is_empty() {
        return text;
    }
    text.push_str(".RS\n");
    for member in action.data {
        let meaning = format!("{}.", member.meaning);
        text.push_str(&roff::entry(member.name, Some(member.of_type), &meaning));
    }
    text.push_str(".RE\n");
    text
}

/// The hooks in the order of a life, each with when it is asked and what a refusal does.
fn hooks() -> String {
    let of = |row: &config::HookRow| {
        let mut text = roff::entry(row.name.as_str(), None, row.when);
        if !row.context.is_empty() {
            text.push_str(".br\n");
            let context = row.context.join(", ");
            text.push_str(&roff::paragraph(&format!(
                "In its context also: {context}."
            )));
        }
        text.push_str(".br\n");
        text.push_str(&roff::paragraph(&format!(
            "False, or a failure: {}",
            row.refusal
        )));
        text
    };
    config::HOOKS.iter().map(of).collect()
}

/// The hooks of the daemon, likewise.
fn daemon_hooks() -> String {
    let rows = config::Section::Hooks.rows().iter();
    rows.map(|row| roff::entry(row.key, None, row.description()))
        .collect()
}

/// The keys of a hook's table.
fn forms() -> String {
    let row = config::Section::Watcher.row("hooks");
    let fields = row.expect("hooks is in the table").fields();
    fields
        .map(|(key, meaning)| roff::entry(key, None, meaning))
        .collect()
}

/// The plugins that come with circusd, one entry each.
fn plugins() -> String {
    let all = BuiltIn::ALL.iter();
    all.map(|plugin| roff::entry(plugin.as_str(), None, plugin.description()))
        .collect()
}

fn completions(shell: Shell, name: &str, mut command: clap::Command) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    let script = String::from_utf8(script).expect("the flags are text");
    script.trim_end().to_owned() + "\n"
}

#[test]
fn circusd_8_has_every_flag() {
    kept::check_blocks(DAEMON, &[("options".into(), options(server::command()))]);
}

#[test]
fn circus_plugin_1_has_every_flag_and_every_plugin() {
    let blocks = [
        ("options".into(), options(plugin::command())),
        ("plugins".into(), plugins()),
    ];
    kept::check_blocks(PLUGIN, &blocks);
}

#[test]
fn circusd_toml_5_is_up_to_date() {
    kept::check(CONFIGURATION, &config::manual_roff());
}

#[test]
fn io_circusd_7_has_every_method_type_and_error() {
    kept::check_blocks(INTERFACE, &interface::blocks());
}

#[test]
fn circusd_events_7_has_every_event_with_its_data() {
    let blocks = [
        ("watchers".into(), events(Of::Watcher)),
        ("daemon".into(), events(Of::Daemon)),
        (
            "denied".into(),
            roff::paragraph(&format!("MESSAGE_ID={}", DENIED.id)),
        ),
    ];
    kept::check_blocks(EVENTS, &blocks);
}

#[test]
fn circusd_hooks_7_has_every_hook_and_every_form() {
    let blocks = [
        ("hooks".into(), hooks()),
        ("daemon hooks".into(), daemon_hooks()),
        ("forms".into(), forms()),
    ];
    kept::check_blocks(HOOKS, &blocks);
}

#[test]
fn the_message_catalog_explains_every_record() {
    kept::check(CATALOG, &catalog::catalog());
}

#[test]
fn the_completions_are_up_to_date() {
    for (program, command) in PROGRAMS {
        for (shell, _, before, behind) in SHELLS {
            let path = format!("packaging/completions/{before}{program}{behind}");
            kept::check(&path, &completions(shell, program, command()));
        }
    }
}

/// What `program` makes of the file at `path`; what this machine lacks is skipped, aloud.
fn run(program: &str, args: &[&str], path: &Path) -> Option<Output> {
    let mut command = Command::new(program);
    command
        .args(args)
        .arg(path)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null());
    match command.output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            skip::skip(format!(
                "{} is not checked, there is no {program} here",
                path.display()
            ));
            None
        }
        output => Some(output.expect("what is installed can be run")),
    }
}

/// Has `program` look at every page, and complain of none.
fn check_pages(program: &str, args: &[&str]) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("man");
    let pages = fs::read_dir(directory).expect("there is a manual");
    for page in pages {
        let page = page.expect("a directory can be read").path();
        let Some(output) = run(program, args, &page) else {
            return;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        let found = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.is_empty(),
            "{}: {said}{found}",
            page.display()
        );
    }
}

#[test]
fn mandoc_finds_no_fault_in_any_page() {
    check_pages("mandoc", &["-T", "lint", "-W", "style"]);
}

#[test]
fn man_formats_every_page_without_a_warning() {
    check_pages("man", &["--warnings", "-l"]);
}

#[test]
fn the_completions_are_read_by_their_shells() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    for (program, command) in PROGRAMS {
        for (shell, reader, ..) in SHELLS {
            let file = directory.path().join(format!("{program}.{reader}"));
            let script = completions(shell, program, command());
            fs::write(&file, script).expect("a file can be written");
            if let Some(read) = run(reader, &["-n"], &file) {
                let said = String::from_utf8_lossy(&read.stderr);
                let fine = read.status.success() && said.is_empty();
                assert!(fine, "{reader}: {said}");
            }
        }
    }
}
