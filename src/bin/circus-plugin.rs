//! `circus-plugin`: the plugins that come with circusd. Flags in, exit code out; everything else is
//! in `circusd::plugin`.

use std::process::ExitCode;

use circusd::plugin;

fn main() -> ExitCode {
    plugin::circus_plugin(std::env::args_os()).into()
}
