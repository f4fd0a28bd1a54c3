//! `[socket.NAME]`: the settings of one socket that circusd opens and workers inherit.
//!
//! Whether it can be opened is found out by whoever opens it.

use std::net::SocketAddr;

use super::diagnostic::nearest;
use super::kind::Problem;
use super::node::{Entry, Node, Table, Value};
use super::table::section;
use super::values::{Host, Identity, Interface, Mode, SocketPath, SocketType, UseSockets};
use super::variables::Context;

/// The descriptor of the first socket that a process inherits (sd_listen_fds(3)).
pub const FIRST_SOCKET: usize = 3;

section! {
    /// `[socket.NAME]`, read and checked.
    pub struct Socket for Socket, given cx;
    also {
        /// Its name.
        name: String,
    }
    /// Where a Unix socket is; a name that begins with @ is in the abstract namespace.
    path: Option<SocketPath> = None => "none", Reload;
    /// The address that an Internet socket is bound to; 0.0.0.0 and :: stand for all there are.
    host: Option<Host> = None => "none", Reload;
    /// The port of an Internet socket; 0: one that is free, which circusctl listsockets tells.
    port: Option<u16> = None => "none", Reload;
    /// What goes over it: bytes, messages, or messages over connections (Unix only).
    r#type: SocketType = SocketType::Stream, Reload;
    /// How many connections may wait to be accepted; the kernel cuts it to net.core.somaxconn.
    backlog: u32 = 4096, Live, 1.0 => 2_147_483_647.0;
    /// Open a socket of its own for each process, all on one port (SO_REUSEPORT), among which the
    /// kernel shares out what comes; what waits at a process that ends is lost.
    reuseport: bool = false, Reload;
    /// An IPv6 socket takes no IPv4.
    ipv6_only: bool = false, Reload;
    /// Take only what comes over this network interface.
    interface: Option<Interface> = None => "all", Reload;
    /// The file mode creation mask for a socket file that has no mode set.
    umask: Option<Mode> = None => "that of circusd", Reload;
    /// The owner of the socket file, by name or number.
    owner: Option<Identity> = None => "the user circusd runs as", Reload;
    /// The group of the socket file, by name or number.
    group: Option<Identity> = None => "the group circusd runs as", Reload;
    /// The permission bits of the socket file; whoever may write may connect.
    mode: Option<Mode> = None => "0777 less umask", Reload;
    /// Take the socket that systemd passes under this name (FileDescriptorName=), as it is.
    from_manager: bool = false, Reload;
    /// Replace a socket file on which nobody listens.
    replace: bool = true, Live;
    later {}
}

/// Where a socket comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Where {
    /// The file system, or the abstract namespace.
    Unix(SocketPath),
    /// An address and a port.
    Inet(SocketAddr),
    /// The service manager.
    Manager,
}

impl Socket {
    /// Where it comes from.
    pub fn place(&self) -> Where {
        match (&self.path, self.host, self.port) {
            (Some(path), ..) => Where::Unix(path.clone()),
            (None, Some(Host(host)), Some(port)) => Where::Inet((host, port).into()),
            // A socket that is none of these is not taken.
            _ => Where::Manager,
        }
    }

    /// Whether both cannot be open.
    pub(crate) fn is_in_the_way_of(&self, other: &Self) -> bool {
        match (self.place(), other.place()) {
            (Where::Unix(one), Where::Unix(other)) => one == other,
            (Where::Inet(one), Where::Inet(two)) => {
                one == two && one.port() != 0 && self.r#type == other.r#type
            }
            _ => false,
        }
    }

    /// Whether one and the same socket serves for both, whatever their names. One from the manager
    /// is known by its name.
    pub fn is_same(&self, other: &Self) -> bool {
        let named = |socket: &Self| socket.from_manager.then(|| socket.name.clone());
        let like = |socket: &Self| Self {
            name: String::new(),
            // What can be changed while it is open.
            backlog: 0,
            replace: false,
            ..socket.clone()
        };
        named(self) == named(other) && like(self) == like(other)
    }
}

/// Keys that only sockets of the file system have.
const OF_FILES: [&str; 5] = ["umask", "owner", "group", "mode", "replace"];

/// Keys that only sockets of the Internet have.
const OF_INET: [&str; 5] = ["host", "port", "reuseport", "ipv6_only", "interface"];

/// Keys that are right by themselves and wrong together.
#[derive(Debug, Default)]
pub(crate) struct Contradictions {
    /// Each with the key to change.
    pub(crate) keys: Vec<(&'static str, Problem)>,
    /// What the section as a whole lacks.
    pub(crate) lack: Option<&'static str>,
}

pub(crate) fn contradictions(socket: &Socket, table: &Table) -> Contradictions {
    let mut found = Vec::new();
    let mut refuse = |keys: &[&'static str], reason: &str| {
        for key in keys {
            // Switched off is as good as not there.
            if let Some(node) = table.get(key).filter(|node| !is_off(node)) {
                found.push((*key, Problem::new(node, reason)));
            }
        }
    };
    let lack = match (socket.from_manager, &socket.path) {
        (true, _) => {
            let reason = "has no effect with from_manager = true: the socket is taken as it is";
            for keys in [&["path", "type", "backlog"][..], &OF_INET, &OF_FILES] {
                refuse(keys, reason);
            }
            None
        }
        (false, Some(path)) => {
            unix(socket, path, &mut refuse);
            None
        }
        (false, None) => inet(socket, &mut refuse),
    };
    if socket.r#type == SocketType::Dgram {
        let reason = "has no effect on datagrams: there are no connections";
        refuse(&["backlog"], reason);
    }
    Contradictions { keys: found, lack }
}

fn unix(socket: &Socket, path: &SocketPath, refuse: &mut impl FnMut(&[&'static str], &str)) {
    let reason = "has no effect with path, which makes it a Unix socket";
    refuse(&OF_INET, reason);
    match path {
        SocketPath::Abstract(_) => {
            let reason = "has no effect on an abstract name, which is no file";
            refuse(&OF_FILES, reason);
        }
        SocketPath::Path(_) if socket.mode.is_some() => {
            refuse(&["umask"], "has no effect with mode");
        }
        SocketPath::Path(_) => {}
    }
}

/// Says what the section lacks.
fn inet(socket: &Socket, refuse: &mut impl FnMut(&[&'static str], &str)) -> Option<&'static str> {
    refuse(&OF_FILES, "has no effect without path");
    if socket.r#type == SocketType::Seqpacket {
        refuse(&["type"], "'seqpacket' is for Unix sockets: it needs path");
    }
    if socket.host.is_some_and(|host| host.0.is_ipv4()) {
        refuse(&["ipv6_only"], "has no effect on an IPv4 address");
    }
    if socket.reuseport && socket.r#type == SocketType::Dgram && socket.port == Some(0) {
        // A socket that kept the port for us would get its share of the datagrams.
        refuse(
            &["port"],
            "0 does not go with reuseport and type = \"dgram\"",
        );
    }
    match (socket.host, socket.port) {
        (Some(_), Some(_)) => None,
        (Some(_), None) => Some("host without port"),
        (None, Some(_)) => Some("port without host"),
        (None, None) => Some("expected path, host and port, or from_manager"),
    }
}

fn is_off(node: &Node) -> bool {
    matches!(node.value, Value::Boolean(false))
}

/// The sockets that `watcher` uses, of `all`; and every name in its keys that is none of them.
pub(crate) fn used(
    wanted: &UseSockets,
    node: Option<&Node>,
    all: &[Socket],
) -> (Vec<Socket>, Vec<Problem>) {
    let names = match wanted {
        UseSockets::None => return (Vec::new(), Vec::new()),
        UseSockets::All => return (all.to_vec(), Vec::new()),
        UseSockets::Names(names) => names,
    };
    let items = match node.map(|node| &node.value) {
        Some(Value::Array(items)) => items.as_slice(),
        _ => &[],
    };
    let (mut sockets, mut problems) = (Vec::<Socket>::new(), Vec::new());
    for (name, item) in names.iter().zip(items) {
        let twice = sockets.iter().any(|socket| socket.name == *name);
        match all.iter().find(|socket| socket.name == *name) {
            Some(_) if twice => {
                problems.push(Problem::new(item, format!("'{name}' is named twice")));
            }
            Some(socket) => sockets.push(socket.clone()),
            None => problems.push(no_such_socket(item, name, all)),
        }
    }
    (sockets, problems)
}

fn no_such_socket(node: &Node, name: &str, all: &[Socket]) -> Problem {
    let known = all.iter().map(|socket| socket.name.as_str());
    let meant = nearest(name, known);
    Problem::new(node, format!("there is no socket '{name}'")).suggesting(meant)
}

/// Every `$(circus.sockets.NAME)` in `node`, and in what it holds, that has no value for a process
/// with these sockets.
pub(crate) fn unknown_variables(
    node: &Node,
    sockets: &[Socket],
    all: &[Socket],
    cx: &Context,
) -> Vec<Problem> {
    let inner = |nodes: &mut dyn Iterator<Item = &Node>| {
        nodes
            .flat_map(|node| unknown_variables(node, sockets, all, cx))
            .collect()
    };
    match &node.value {
        Value::String(text) => unknown_in_text(node, text, sockets, all, cx),
        Value::Array(items) => inner(&mut items.iter()),
        Value::Table(table) => table
            .iter()
            .flat_map(|Entry { key, node, .. }| {
                let problems = unknown_variables(node, sockets, all, cx);
                problems.into_iter().map(|problem| problem.inside(key))
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn unknown_in_text(
    node: &Node,
    text: &str,
    sockets: &[Socket],
    all: &[Socket],
    cx: &Context,
) -> Vec<Problem> {
    // One that cannot be read has been told of.
    let Ok(template) = super::Template::parse(text, cx) else {
        return Vec::new();
    };
    let has = |sockets: &[Socket], name: &str| sockets.iter().any(|socket| socket.name == name);
    let missing = template.sockets().filter(|name| !has(sockets, name));
    missing
        .map(|name| {
            let variable = format!("$(circus.sockets.{name})");
            if has(all, name) {
                let reason = format!("'{variable}': use_sockets does not name this socket");
                return Problem::new(node, reason);
            }
            let mut problem = no_such_socket(node, name, all);
            problem.reason = format!("'{variable}': {}", problem.reason);
            problem.suggestion = problem
                .suggestion
                .map(|known| format!("$(circus.sockets.{known})"));
            problem
        })
        .collect()
}
