//! `[circusd]`: the settings of the daemon itself.

use std::path::PathBuf;
use std::time::Duration;

use super::table::section;
use super::values::{
    Bytes, HOOK_TIMEOUT, Identity, LogLevel, LogTarget, Mode, Patterns, SocketPath,
};
use super::variables::Context;

section! {
    /// `[circusd]`, read and checked.
    pub struct Circusd for Circusd, given cx;
    also {
        /// Where what survives the daemon is kept: `runtime_dir`, or beside the socket.
        state_dir: PathBuf,
    }
    /// Where the API socket is; a name that begins with @ is in the abstract namespace.
    socket: SocketPath = SocketPath::Path(default_socket(cx))
        => "/run/circusd/circusd.sock; a user's own daemon: $XDG_RUNTIME_DIR/circusd/circusd.sock",
        RestartDaemon;
    /// The permission bits of the socket: who may connect.
    socket_mode: Mode = Mode(0o660), RestartDaemon;
    /// The group of the socket.
    socket_group: Option<Identity> = None => "circus, if there is such a group", RestartDaemon;
    /// More configuration files, or shell-style patterns for them, read after conf.d;
    /// the list of each file is followed.
    include: Patterns = Patterns::default() => "none", Live;
    /// The pause between two watchers when the daemon starts.
    warmup_delay: Duration = Duration::ZERO, Live, 0.0 => 86400.0;
    /// Give each worker a cgroup of its own, where groups may be made.
    cgroups: bool = true, RestartDaemon;
    /// The file mode creation mask of the daemon.
    umask: Option<Mode> = None => "inherited", RestartDaemon;
    /// A file that holds the daemon's process number while it runs.
    pidfile: Option<PathBuf> = None => "none", RestartDaemon;
    /// Where the daemon keeps what the next one goes on with: its processes, what operators wanted,
    /// the last events; beside them the lock that lets no second daemon use it, the sockets on which
    /// processes tell of themselves, and their credentials. Best on a file system in memory: after
    /// the machine was started anew, the configuration alone counts.
    runtime_dir: Option<PathBuf> = None => "the path of the socket with .state added", RestartDaemon;
    /// How much is logged: a level, or levels per part such as "info,circus::server=debug".
    log_level: LogLevel = LogLevel::default(), Live;
    /// Where log records go: 'journal', 'stderr', or a file.
    log_target: Option<LogTarget> = None
        => "the journal if standard error is connected to it, else standard error", RestartDaemon;
    /// How many events are kept for subscribers who come back.
    event_buffer: u32 = 8192, Live, 1.0 => 10_000_000.0;
    /// The most connections at a time.
    connections_max: u32 = 1024, Live, 1.0 => 1_000_000.0;
    /// The most watchers.
    watchers_max: u32 = 4096, Live, 1.0 => 1_000_000.0;
    /// The most processes of all watchers together.
    processes_max: u32 = 65536, Live, 1.0 => 4_194_304.0;
    /// The longest message of a client; past it the connection is closed.
    message_bytes_max: Bytes = Bytes(1 << 20), Live, 1024.0 => 1_073_741_824.0;
    /// How long the whole shutdown may take.
    stop_timeout: Duration = Duration::from_secs(90), Live, 0.0 => 86400.0;
    /// How long a hook may take that does not say it itself.
    hook_timeout: Duration = HOOK_TIMEOUT, Live, 0.001 => 86400.0;
    /// A proxy, given to workers as http_proxy, https_proxy, ws_proxy and wss_proxy.
    http_proxy: Option<String> = None => "none", Reload;
    /// Read the configuration again, as at SIGHUP, when what its files say has changed and nothing more
    /// changes for 0.2 s (or for 2 s all the time): files that were read, those of env_file, and what
    /// comes to or goes from the directories and patterns that were looked at. A mistake is told of,
    /// and all stays as it was. What another machine does on a network file system is not noticed.
    reload_on_change: bool = false, Live;
    later {}
}

/// Where the socket is unless somebody says otherwise.
///
/// A user without `$XDG_RUNTIME_DIR` (no session) gets [`directory_in_tmp`].
fn default_socket(cx: &Context) -> PathBuf {
    let directory = match (cx.system, cx.variable("XDG_RUNTIME_DIR")) {
        (true, _) => "/run/circusd".to_owned(),
        (false, Some(runtime)) => format!("{runtime}/circusd"),
        (false, None) => return directory_in_tmp(cx.uid).join("circusd.sock"),
    };
    PathBuf::from(directory).join("circusd.sock")
}

/// What belongs to the daemon of a user without a session. Anybody can make it: who uses it looks
/// first whose it is.
pub fn directory_in_tmp(uid: u32) -> PathBuf {
    format!("/tmp/circusd-{uid}").into()
}

impl Circusd {
    /// `runtime_dir`, or else beside the socket; an abstract socket has no beside, so what
    /// belongs to it lies where the usual socket would be.
    pub(crate) fn find_state_dir(&self, cx: &Context) -> PathBuf {
        if let Some(directory) = &self.runtime_dir {
            return directory.clone();
        }
        match &self.socket {
            SocketPath::Path(path) => {
                let mut path = path.clone().into_os_string();
                path.push(".state");
                PathBuf::from(path)
            }
            SocketPath::Abstract(name) => {
                // A slash would lead out of the directory.
                let name = name.replace('/', "_");
                default_socket(cx).with_file_name(format!("@{name}.state"))
            }
        }
    }
}
