//! Where the observers look: URLs whose host may be a name, which is looked up each time. A plugin is a
//! process of its own, for which nobody waits.

use serde_json::{Value as Json, json};

use crate::config::kind::{Kind, Problem, Read, text};
use crate::config::node::Node;
use crate::config::values::address::{self, Authority, HTTP_PORT};
use crate::config::values::{FromText, SocketPath};
use crate::config::variables::Context;

/// Where a Redis is: `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`, or
/// `unix://[[USER]:PASSWORD@]/PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisUrl {
    written: String,
    /// A host and a port, or the path of a Unix socket.
    pub server: Result<(String, u16), std::path::PathBuf>,
    /// What AUTH is told, if anything.
    pub user: Option<String>,
    /// What AUTH is told, if anything.
    pub password: Option<String>,
    /// What SELECT is told; 0 is where a connection begins.
    pub database: u32,
}

/// The port of Redis.
const REDIS_PORT: u16 = 6379;

const REDIS: &str = "a URL such as redis://localhost:6379/0 or unix:///run/redis.sock";

impl RedisUrl {
    /// Reads a URL; none where it is not one.
    pub fn parse(written: &str) -> Option<Self> {
        let mut url = Self {
            written: written.to_owned(),
            server: Err(std::path::PathBuf::new()),
            user: None,
            password: None,
            database: 0,
        };
        let (scheme, rest) = written.split_once("://")?;
        let (login, rest) = match rest.rsplit_once('@') {
            Some((login, rest)) => (Some(login), rest),
            None => (None, rest),
        };
        if let Some((user, password)) =
            login.map(|login| login.split_once(':').unwrap_or((login, "")))
        {
            url.user = Some(user.to_owned()).filter(|user| !user.is_empty());
            url.password = Some(password.to_owned());
        }
        match scheme {
            "unix" => {
                url.server = Err(rest.into());
                return rest.starts_with('/').then_some(url);
            }
            "redis" => {}
            _ => return None,
        }
        let (address, database) = rest.split_once('/').unwrap_or((rest, ""));
        if !database.is_empty() {
            url.database = database.parse().ok()?;
        }
        url.server = Ok(host_and_port(address, REDIS_PORT)?);
        Some(url)
    }
}

/// What stands before and behind the colon; `None` where there is no host, or no such port.
fn host_and_port(address: &str, usual: u16) -> Option<(String, u16)> {
    let (host, port) = match address.rsplit_once(':') {
        // The colons of an IPv6 address without a port are inside brackets.
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
        _ => (address, usual),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty() && port != 0).then(|| (host.to_owned(), port))
}

/// A page that is asked for by HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageUrl {
    written: String,
    /// Where to connect.
    pub server: PageServer,
    /// What goes behind `Host:` (RFC 9110, section 7.2).
    pub host: String,
    /// What to ask for: it begins with a slash, and has neither spaces nor control characters.
    pub path: String,
}

/// Where a page is had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageServer {
    /// A name or address, and a port.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(SocketPath),
}

impl PageUrl {
    pub(super) fn of(written: &'static str) -> Self {
        Self::from_text(written).expect("a default is checked by a test")
    }
}

impl FromText for PageUrl {
    fn from_text(written: &str) -> Result<Self, String> {
        let (authority, path) = address::parts(written)?;
        let (server, host) = match authority {
            Authority::Unix(socket) => (PageServer::Unix(socket), "localhost"),
            Authority::Host(host) => {
                let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
                let found = Some(host).filter(|host| host.bytes().all(is_host));
                let found = found.and_then(|host| host_and_port(host, HTTP_PORT));
                let (name, port) =
                    found.ok_or_else(|| format!("'{host}' is no host, and no host with a port"))?;
                (PageServer::Tcp(name, port), host)
            }
        };
        Ok(Self {
            written: written.to_owned(),
            server,
            host: host.to_owned(),
            path,
        })
    }
}

impl std::fmt::Display for PageUrl {
    /// As written.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.written)
    }
}

impl Kind for PageUrl {
    fn name() -> String {
        "a URL".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let written = text(node, "a URL", cx)?;
        Self::from_text(&written).map_err(|reason| Problem::new(node, reason).into())
    }

    fn json(&self) -> Json {
        Json::from(self.written.as_str())
    }

    fn schema() -> Json {
        json!({"type": "string", "minLength": 1})
    }
}

impl Kind for RedisUrl {
    fn name() -> String {
        "the URL of a Redis".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let written = text(node, REDIS, cx)?;
        Self::parse(&written).ok_or_else(|| {
            // It may hold a password.
            Problem::new(node, format!("expected {REDIS}")).into()
        })
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
    fn a_page_has_a_host_or_a_socket() {
        let check = |written: &str, expected: (&str, u16), host: &str, path: &str| {
            let url = PageUrl::from_text(written).unwrap();
            let server = PageServer::Tcp(expected.0.into(), expected.1);
            assert_eq!(
                (url.server, url.host.as_str(), url.path.as_str()),
                (server, host, path)
            );
            assert_eq!(PageUrl::from_text(written).unwrap().to_string(), written);
        };
        check("http://web", ("web", 80), "web", "/");
        check(
            "http://www.example.org:8080/up?full",
            ("www.example.org", 8080),
            "www.example.org:8080",
            "/up?full",
        );
        check("http://[::1]:81/", ("::1", 81), "[::1]:81", "/");
        let unix = PageUrl::from_text("http://unix:/run/web.sock:/up").unwrap();
        assert_eq!(
            (unix.host.as_str(), unix.path.as_str()),
            ("localhost", "/up")
        );
        assert!(matches!(unix.server, PageServer::Unix(_)));
    }

    #[test]
    fn what_is_no_page_is_refused() {
        for wrong in [
            "",
            "web",
            "https://web/",
            "http://",
            "http://:80/",
            "http://web:0/",
            "http://web:65536/",
            "http://user:secret@web/",
            "http://we b/",
            "http://web/a b",
            "http://web/#up",
            "http://unix:/run/web.sock",
        ] {
            assert!(PageUrl::from_text(wrong).is_err(), "{wrong}");
        }
    }
}
