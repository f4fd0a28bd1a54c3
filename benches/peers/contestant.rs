//! Who is measured: how each is started, asked, and commanded.
//!
//! The only place that knows one supervisor from another. The scenes treat all alike.

use std::path::{Path, PathBuf};

use crate::Result;
use crate::failed;
use crate::muster::Address;
use crate::tools::Tools;

/// The ways circusd is measured, each a column of the table: its name, and flags besides `--config` and
/// `--socket`. Whether workers get cgroups of their own is not said here but looked up in `/proc`.
const MODES: &[(&str, &[&str])] = &[
    ("circusd", &[]),
    ("circusd", &["--set", "circusd.cgroups=false"]),
];

/// A supervisor to be measured.
pub(crate) struct Contestant {
    /// The heading of its column.
    pub(crate) name: String,
    kind: Kind,
}

enum Kind {
    Floor,
    Circusd {
        daemon: PathBuf,
        client: PathBuf,
        flags: &'static [&'static str],
    },
}

/// What a daemon is told to keep alive, and where it works.
pub(crate) struct Pool<'a> {
    pub(crate) watchers: usize,
    /// Workers of each watcher.
    pub(crate) workers: usize,
    pub(crate) dir: &'a Path,
    pub(crate) socket: &'a Path,
    /// Where workers report.
    pub(crate) muster: &'a Address,
    /// Plugins beside them, and one more that crashes.
    pub(crate) plugins: usize,
}

impl Pool<'_> {
    /// How many workers there are in all.
    pub(crate) fn size(&self) -> usize {
        self.watchers * self.workers
    }

    fn watcher(place: usize) -> String {
        format!("w{place}")
    }
}

impl Contestant {
    /// The floor, against which the others are told.
    pub(crate) fn floor() -> Contestant {
        Contestant {
            name: "C floor".into(),
            kind: Kind::Floor,
        }
    }

    /// circusd, once for each of its ways to work.
    pub(crate) fn circusd(daemon: &Path, client: &Path) -> impl Iterator<Item = Contestant> {
        MODES.iter().map(move |&(name, flags)| Contestant {
            name: name.into(),
            kind: Kind::Circusd {
                daemon: daemon.into(),
                client: client.into(),
                flags,
            },
        })
    }

    /// Whether it tells subscribers what happens.
    pub(crate) fn has_events(&self) -> bool {
        !matches!(self.kind, Kind::Floor)
    }

    /// The command line that starts it with `pool`; writes its configuration if it has one.
    pub(crate) fn start(&self, tools: &Tools, pool: &Pool<'_>) -> Result<Vec<PathBuf>> {
        match &self.kind {
            Kind::Floor => {
                let size = pool.size().to_string();
                Ok(vec![
                    tools.floor.clone(),
                    pool.socket.into(),
                    size.into(),
                    tools.worker.clone(),
                    pool.muster.roll.clone(),
                    pool.muster.fifo.clone(),
                ])
            }
            Kind::Circusd { daemon, flags, .. } => {
                let config = pool.dir.join("circusd.toml");
                std::fs::write(&config, configuration(tools, pool))
                    .map_err(failed(format!("to write '{}'", config.display())))?;
                let mut line = vec![
                    daemon.clone(),
                    "--config".into(),
                    config,
                    "--socket".into(),
                    pool.socket.into(),
                ];
                line.extend(flags.iter().map(PathBuf::from));
                Ok(line)
            }
        }
    }

    /// The line that asks for the status of everything, over the socket.
    pub(crate) fn status_request(&self) -> &'static str {
        match self.kind {
            Kind::Floor => "status\n",
            Kind::Circusd { .. } => "{\"method\":\"io.circusd.Status\",\"parameters\":{}}\n",
        }
    }

    /// What every answer to [`Self::status_request`] begins with.
    pub(crate) fn status_reply(&self) -> &'static str {
        match self.kind {
            Kind::Floor => "{\"workers\":",
            Kind::Circusd { .. } => "{\"parameters\":{\"watchers\":[{",
        }
    }

    /// The command line an operator would type to see the status.
    pub(crate) fn status_command(&self, tools: &Tools, socket: &Path) -> Vec<PathBuf> {
        self.command(tools, socket, &["status"], &["status"])
    }

    /// The command line an operator would type to restart the only watcher.
    pub(crate) fn restart_command(&self, tools: &Tools, socket: &Path) -> Vec<PathBuf> {
        self.command(tools, socket, &["restart"], &["restart", &Pool::watcher(0)])
    }

    fn command(
        &self,
        tools: &Tools,
        socket: &Path,
        floor: &[&str],
        circusctl: &[&str],
    ) -> Vec<PathBuf> {
        let (mut line, words) = match &self.kind {
            Kind::Floor => (vec![tools.client.clone(), socket.into()], floor),
            Kind::Circusd { client, .. } => {
                let line = vec![client.clone(), "--socket".into(), socket.into()];
                (line, circusctl)
            }
        };
        line.extend(words.iter().map(PathBuf::from));
        line
    }
}

/// One watcher after the other. A worker killed by us is to be replaced at once, every time; a plugin that
/// crashes by itself as the rules for all have it, but without ever being given up.
fn configuration(tools: &Tools, pool: &Pool<'_>) -> String {
    let watcher = |place| {
        format!(
            "[watcher.{}]\ncmd = [{:?}, {:?}, {:?}]\nnumprocesses = {}\nbackoff = false\nflapping = false\n\n",
            Pool::watcher(place),
            tools.worker,
            pool.muster.roll,
            pool.muster.fifo,
            pool.workers,
        )
    };
    let plugin = |number| {
        let file = pool.dir.join(format!("events{number}"));
        format!("[plugin.log{number}]\nuse = \"logger\"\nfilename = {file:?}\n\n")
    };
    let crashing = "[plugin.crashing]\ncmd = \"false\"\nwatcher = { flapping = false }\n\n";
    let crashing = (pool.plugins > 0).then_some(crashing);
    let watchers = (0..pool.watchers).map(watcher);
    let plugins = (0..pool.plugins).map(plugin);
    watchers
        .chain(plugins)
        .chain(crashing.map(Into::into))
        .collect()
}
