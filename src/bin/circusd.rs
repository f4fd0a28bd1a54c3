//! The daemon: flags in, exit code out.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use circusd::config::{self, Store};
use circusd::server::{self, Options};

fn main() -> ExitCode {
    let matches = server::command().get_matches();
    if matches.get_flag("print-schema") {
        return print(&format!("{:#}\n", config::schema()));
    }
    let sources = server::sources(&matches);
    if let Some(directory) = matches.get_one::<PathBuf>("check-state") {
        let configuration = check(sources);
        return match server::check_state(directory) {
            _ if configuration != ExitCode::SUCCESS => configuration,
            Ok(()) => print("the state can be read\n"),
            Err(error) => {
                complain(&error);
                ExitCode::FAILURE
            }
        };
    }
    if matches.get_flag("check") {
        return check(sources);
    }
    if matches.get_flag("stop-post") {
        return stop_post(sources);
    }
    server::run(Options::new(sources), complain).into()
}

fn stop_post(sources: config::Sources) -> ExitCode {
    match server::stop_post(sources) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn check(sources: config::Sources) -> ExitCode {
    match Store::load(sources) {
        Ok(store) => {
            store
                .warnings()
                .iter()
                .for_each(|warning| complain(&format!("warning: {warning}")));
            let watchers = match store.config().watchers.len() {
                1 => "1 watcher".to_owned(),
                number => format!("{number} watchers"),
            };
            print(&format!("the configuration is good: {watchers}\n"))
        }
        Err(errors) => {
            complain(&errors.to_string());
            server::ExitCode::Config.into()
        }
    }
}

/// A reader that has gone away is no error.
fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

fn complain(text: &str) {
    // There is nobody left to tell that telling failed.
    let _ = writeln!(std::io::stderr(), "circusd: {text}");
}
