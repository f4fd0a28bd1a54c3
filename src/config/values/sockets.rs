//! What only sockets have: where they listen, of which type they are, and who inherits them.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value as Json, json};

use crate::config::kind::{Kind, Problem, Read, collect, text};
use crate::config::node::{Node, Value};
use crate::config::shapes::choices;
use crate::config::variables::Context;

choices! {
    /// What goes over a socket.
    pub enum SocketType {
        /// Bytes over connections (TCP).
        Stream = "stream",
        /// Messages without connections (UDP).
        Dgram = "dgram",
        /// Messages over connections; Unix sockets only.
        Seqpacket = "seqpacket",
    }
}

/// An address of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host(pub IpAddr);

const HOST: &str = "an IP address, or 'localhost'";

impl Kind for Host {
    fn name() -> String {
        HOST.into()
    }

    /// No other name is taken: to look it up, everything would have to wait.
    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let written = text(node, HOST, cx)?;
        let bare = written.strip_prefix('[').and_then(|w| w.strip_suffix(']'));
        let host = match written.as_str() {
            "localhost" => return Ok(Self(Ipv4Addr::LOCALHOST.into())),
            host => bare.unwrap_or(host),
        };
        let address = host.parse();
        address.map(Self).map_err(|_| {
            let meant = (written == "*").then(|| "0.0.0.0".to_owned());
            Problem::new(node, format!("expected {HOST}, found '{written}'"))
                .suggesting(meant)
                .into()
        })
    }

    fn json(&self) -> Json {
        Json::from(self.0.to_string())
    }

    fn schema() -> Json {
        json!({"type": "string", "minLength": 1})
    }
}

/// The name of a network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface(pub String);

/// `IFNAMSIZ` less the byte that ends it (netdevice(7)).
const INTERFACE_MAX: usize = 15;

impl Kind for Interface {
    fn name() -> String {
        "the name of a network interface".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let name = text(node, &Self::name(), cx)?;
        let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':');
        if name.is_empty() || name.len() > INTERFACE_MAX || name.contains(odd) {
            let reason = format!("'{name}' is not the name of a network interface");
            return Err(Problem::new(node, reason).into());
        }
        Ok(Self(name))
    }

    fn json(&self) -> Json {
        Json::from(self.0.as_str())
    }

    fn schema() -> Json {
        json!({"type": "string", "minLength": 1, "maxLength": INTERFACE_MAX})
    }
}

/// Which sockets the processes of a watcher inherit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UseSockets {
    /// None.
    None,
    /// All there are.
    All,
    /// These, in this order.
    Names(Vec<String>),
}

impl Kind for UseSockets {
    fn name() -> String {
        "a boolean, or an array of names".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        match &node.value {
            Value::Array(items) => {
                collect(items.iter().map(|item| text(item, "a name", cx))).map(Self::Names)
            }
            _ => match bool::read(node, cx) {
                Ok(true) => Ok(Self::All),
                Ok(false) => Ok(Self::None),
                Err(_) => Err(Problem::expected(&Self::name(), node).into()),
            },
        }
    }

    fn json(&self) -> Json {
        match self {
            Self::None => Json::from(false),
            Self::All => Json::from(true),
            Self::Names(names) => names.json(),
        }
    }

    fn schema() -> Json {
        json!({"anyOf": [bool::schema(), {"type": "array", "items": {"type": "string"}}]})
    }
}
