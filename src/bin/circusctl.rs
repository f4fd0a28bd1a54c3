//! `circusctl`: commands the daemon. Flags in, exit code out; everything else is in `circusd::cli`.

use std::process::ExitCode;

use circusd::cli;

fn main() -> ExitCode {
    cli::run(std::env::args_os()).into()
}
