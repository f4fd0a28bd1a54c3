//! Where a probe knocks: an address with a port, or the URL of a page.
//!
//! Names are not looked up, here or later: an answer would have to be waited for, and could be
//! another each time. `localhost` is no name in that sense (RFC 6761, section 6.3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::{Value as Json, json};

use super::{FromText, SocketPath};
use crate::config::kind::{Kind, Problem, Read, text};
use crate::config::node::Node;
use crate::config::variables::Context;

const ADDRESS: &str = "an IP address or localhost, ':' and a port";

const URL: &str = "a URL such as http://127.0.0.1:8080/health";

/// Where to connect by TCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpAddress {
    written: String,
    /// To be tried one after the other; never empty.
    pub addresses: Vec<SocketAddr>,
}

impl TcpAddress {
    /// `port_unless_given` is that of a scheme; without one a port is required.
    fn parse(written: &str, port_unless_given: Option<u16>) -> Option<Self> {
        let addresses = match written.strip_prefix("localhost") {
            Some(rest) => {
                let port = match rest.strip_prefix(':') {
                    Some(port) => parse_port(port)?,
                    None if rest.is_empty() => port_unless_given?,
                    None => return None,
                };
                let loopback: [IpAddr; 2] =
                    [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
                loopback.map(|ip| SocketAddr::new(ip, port)).to_vec()
            }
            None => match (written.parse::<SocketAddr>(), port_unless_given) {
                (Ok(address), _) if address.port() != 0 => vec![address],
                (Err(_), Some(port)) => {
                    let bare = written.strip_prefix('[').and_then(|s| s.strip_suffix(']'));
                    let ip: IpAddr = match bare {
                        Some(inner) => inner.parse::<Ipv6Addr>().ok()?.into(),
                        None => written.parse::<Ipv4Addr>().ok()?.into(),
                    };
                    vec![SocketAddr::new(ip, port)]
                }
                _ => return None,
            },
        };
        Some(Self {
            written: written.to_owned(),
            addresses,
        })
    }
}

fn parse_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

impl std::fmt::Display for TcpAddress {
    /// As written.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.written)
    }
}

impl FromText for TcpAddress {
    fn from_text(written: &str) -> Result<Self, String> {
        Self::parse(written, None).ok_or_else(|| {
            format!("expected {ADDRESS}, found '{written}'; names are not looked up")
        })
    }
}

impl Kind for TcpAddress {
    fn name() -> String {
        ADDRESS.into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let written = text(node, ADDRESS, cx)?;
        Self::from_text(&written).map_err(|reason| Problem::new(node, reason).into())
    }

    fn json(&self) -> Json {
        Json::from(self.written.as_str())
    }

    fn schema() -> Json {
        json!({"type": "string", "minLength": 1})
    }
}

/// Where a page is had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpServer {
    /// `http://HOST:PORT/PATH`
    Tcp(TcpAddress),
    /// `http://unix:SOCKET:/PATH`, as nginx and others write it.
    Unix(SocketPath),
}

/// A page that is asked for by HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl {
    written: String,
    /// Where to connect.
    pub server: HttpServer,
    /// What to ask for: it begins with a slash, and has neither spaces nor control characters.
    pub path: String,
}

/// The port of `http` (RFC 9110, section 4.2.1).
pub(crate) const HTTP_PORT: u16 = 80;

impl HttpUrl {
    /// What goes behind `Host:` (RFC 9110, section 7.2).
    pub fn host(&self) -> &str {
        match &self.server {
            HttpServer::Tcp(address) => &address.written,
            HttpServer::Unix(_) => "localhost",
        }
    }
}

/// Whom a URL means, before a host is looked at.
pub(crate) enum Authority<'a> {
    Host(&'a str),
    Unix(SocketPath),
}

/// The parts of a URL: whom to ask, and for what.
pub(crate) fn parts(written: &str) -> Result<(Authority<'_>, String), String> {
    let rest = match written.split_once("://") {
        Some(("http", rest)) => rest,
        Some((scheme, _)) => return Err(format!("'{scheme}' is not available, only http")),
        None => return Err(format!("expected {URL}, found '{written}'")),
    };
    let (authority, path) = match rest.strip_prefix("unix:") {
        Some(rest) => {
            let (socket, path) = rest
                .split_once(":/")
                .ok_or("behind http://unix: come a socket, ':' and a path")?;
            let socket = SocketPath::from_text(socket)?;
            (Authority::Unix(socket), format!("/{path}"))
        }
        None => {
            let (host, path) = match rest.find(['/', '?']) {
                Some(at) => rest.split_at(at),
                None => (rest, ""),
            };
            let slash = if path.starts_with('/') { "" } else { "/" };
            (Authority::Host(host), format!("{slash}{path}"))
        }
    };
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) || path.contains('#') {
        return Err("a path has neither spaces nor '#', and only ASCII characters".into());
    }
    Ok((authority, path))
}

impl FromText for HttpUrl {
    fn from_text(written: &str) -> Result<Self, String> {
        let (authority, path) = parts(written)?;
        let server = match authority {
            Authority::Unix(socket) => HttpServer::Unix(socket),
            Authority::Host(host) => {
                HttpServer::Tcp(TcpAddress::parse(host, Some(HTTP_PORT)).ok_or_else(|| {
                    format!("'{host}' is no IP address or localhost, and names are not looked up")
                })?)
            }
        };
        Ok(Self {
            written: written.to_owned(),
            server,
            path,
        })
    }
}

impl std::fmt::Display for HttpUrl {
    /// As written.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.written)
    }
}

impl Kind for HttpUrl {
    fn name() -> String {
        "a URL".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let written = text(node, URL, cx)?;
        Self::from_text(&written).map_err(|reason| Problem::new(node, reason).into())
    }

    fn json(&self) -> Json {
        Json::from(self.written.as_str())
    }

    fn schema() -> Json {
        json!({"type": "string", "minLength": 1})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_port_and_no_name() {
        let check = |written: &str, port, expected: &[&str]| {
            let parsed = TcpAddress::parse(written, port);
            let found = parsed.map_or(Vec::new(), |address| address.addresses);
            let found: Vec<_> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{written}");
        };
        check("127.0.0.1:6379", None, &["127.0.0.1:6379"]);
        check("[::1]:80", None, &["[::1]:80"]);
        check("localhost:1", None, &["127.0.0.1:1", "[::1]:1"]);
        check("localhost", Some(80), &["127.0.0.1:80", "[::1]:80"]);
        check("10.0.0.1", Some(80), &["10.0.0.1:80"]);
        check("[::1]", Some(80), &["[::1]:80"]);
        for wrong in [
            "",
            ":",
            ":80",
            "127.0.0.1",
            "127.0.0.1:0",
            "127.0.0.1:99999",
            "localhost",
            "localhost:",
            "localhost:+1",
            "localhosts:1",
            "::1",
            "redis:6379",
        ] {
            check(wrong, None, &[]);
        }
        for wrong in ["::1", "[::1", "[127.0.0.1]", "redis"] {
            check(wrong, Some(80), &[]);
        }
    }
}
