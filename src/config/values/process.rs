//! What a process is started with: signals, modes, priorities, limits, capabilities.

use std::str::FromStr;

use nix::sys::signal::Signal as Named;
use serde_json::{Value as Json, json};

use crate::config::diagnostic::nearest;
use crate::config::kind::{Kind, Problem, Read, collect, or_variable, plain, text};
use crate::config::node::{Entry, Node, Value};
use crate::config::shapes::choices;
use crate::config::values::Bytes;
use crate::config::variables::Context;

/// A signal by its number; see signal(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal(i32);

impl Signal {
    /// SIGTERM, the usual way to ask for an end.
    pub const TERM: Self = Self(libc::SIGTERM);

    /// The number for kill(2): 1 to 64.
    pub fn number(self) -> i32 {
        self.0
    }

    /// A name (`SIGTERM`, `term`, `SIGRTMIN+3`) or a number, as people write them.
    pub fn parse(text: &str) -> Option<Self> {
        let upper = text.trim().to_ascii_uppercase();
        let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
        let number = if let Some(above) = bare.strip_prefix("RTMIN") {
            libc::SIGRTMIN().checked_add(offset(above, '+')?)?
        } else if let Some(below) = bare.strip_prefix("RTMAX") {
            libc::SIGRTMAX().checked_sub(offset(below, '-')?)?
        } else if let Ok(number) = bare.parse() {
            number
        } else {
            Named::from_str(&format!("SIG{bare}")).ok()? as i32
        };
        (1..=libc::SIGRTMAX())
            .contains(&number)
            .then_some(Self(number))
    }
}

/// What follows `SIGRTMIN` or `SIGRTMAX`: nothing, or a sign and digits.
fn offset(text: &str, sign: char) -> Option<i32> {
    if text.is_empty() {
        return Some(0);
    }
    let digits = text.strip_prefix(sign)?;
    let number: u8 = digits.parse().ok()?;
    digits
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then_some(i32::from(number))
}

impl Kind for Signal {
    fn name() -> String {
        "the name or number of a signal".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let node = plain(node, cx)?;
        let written = match &node.value {
            Value::String(name) => name.clone(),
            Value::Integer(number) => number.to_string(),
            _ => return Err(Problem::expected(&Self::name(), &node).into()),
        };
        Self::parse(&written).ok_or_else(|| {
            let full = format!("SIG{}", written.to_uppercase().trim_start_matches("SIG"));
            Problem::new(&node, format!("'{written}' is not a signal"))
                .suggesting(nearest(&full, Named::iterator().map(Named::as_str)))
                .into()
        })
    }

    fn json(&self) -> Json {
        match Named::try_from(self.0) {
            Ok(named) => Json::from(named.as_str()),
            Err(_) if self.0 >= libc::SIGRTMIN() => {
                Json::from(format!("SIGRTMIN+{}", self.0 - libc::SIGRTMIN()))
            }
            Err(_) => Json::from(self.0),
        }
    }

    fn schema() -> Json {
        json!({"anyOf": [
            {"type": "string", "minLength": 1},
            {"type": "integer", "minimum": 1, "maximum": 64},
        ]})
    }
}

/// Permission bits, as chmod(1) writes them: a string of octal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode(pub u32);

impl Kind for Mode {
    fn name() -> String {
        "a string of octal digits".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        const EXPECTED: &str = "a string of octal digits, such as \"0022\"";
        // A bare number would be decimal in TOML, which nobody means here.
        if let Value::Integer(number) = node.value {
            return Err(Problem::expected(EXPECTED, node)
                .suggesting(Some(format!("\"{number:04}\"")))
                .into());
        }
        let digits = text(node, EXPECTED, cx)?;
        let octal = digits.bytes().all(|byte| byte.is_ascii_digit());
        match u32::from_str_radix(&digits, 8) {
            Ok(mode) if octal && mode <= 0o777 => Ok(Self(mode)),
            _ => Err(Problem::new(
                node,
                format!("expected {EXPECTED}, up to \"0777\", found '{digits}'"),
            )
            .into()),
        }
    }

    fn json(&self) -> Json {
        Json::from(format!("{:04o}", self.0))
    }

    fn schema() -> Json {
        or_variable(json!({"type": "string", "pattern": "^0*[0-7]{1,3}$"}))
    }
}

choices! {
    /// A class of ioprio_set(2).
    pub enum IoClass {
        /// Before all others, with a level.
        Realtime = "realtime",
        /// The usual one, with a level.
        BestEffort = "best_effort",
        /// Only when nobody else asks.
        Idle = "idle",
    }
}

/// The I/O priority of a process; see ioprio_set(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoPriority {
    /// The class.
    pub class: IoClass,
    /// 0 (first) to 7; 0 for [`IoClass::Idle`], which has none.
    pub level: u8,
}

impl Kind for IoPriority {
    fn name() -> String {
        "a class, or a class, ':' and a level".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let written = text(node, &Self::name(), cx)?;
        let (word, level) = match written.split_once(':') {
            Some((word, level)) => (word, Some(level)),
            None => (written.as_str(), None),
        };
        let class = [IoClass::Realtime, IoClass::BestEffort, IoClass::Idle]
            .into_iter()
            .find(|class| class.as_str() == word)
            .ok_or_else(|| crate::config::kind::no_such_word(node, word, IoClass::WORDS))?;
        let level = match (class, level) {
            (IoClass::Idle, None) => 0,
            (IoClass::Idle, Some(_)) => {
                return Err(Problem::new(node, "'idle' has no levels").into());
            }
            // The kernel's own default (ioprio_set(2)).
            (IoClass::Realtime | IoClass::BestEffort, None) => 4,
            (IoClass::Realtime | IoClass::BestEffort, Some(level)) => level
                .parse()
                .ok()
                .filter(|level| *level <= 7)
                .ok_or_else(|| {
                    Problem::new(
                        node,
                        format!("level '{level}' is out of range, which is 0 to 7"),
                    )
                })?,
        };
        Ok(Self { class, level })
    }

    fn json(&self) -> Json {
        match self.class {
            IoClass::Idle => Json::from("idle"),
            IoClass::Realtime | IoClass::BestEffort => {
                Json::from(format!("{}:{}", self.class.as_str(), self.level))
            }
        }
    }

    fn schema() -> Json {
        or_variable(json!({
            "type": "string",
            "pattern": "^(idle|(realtime|best_effort)(:[0-7])?)$",
        }))
    }
}

choices! {
    /// What setrlimit(2) limits.
    pub enum Resource {
        /// Address space, in bytes.
        As = "as",
        /// Size of a core file, in bytes.
        Core = "core",
        /// CPU time, in seconds.
        Cpu = "cpu",
        /// Data segment, in bytes.
        Data = "data",
        /// Size of a file, in bytes.
        Fsize = "fsize",
        /// Locked memory, in bytes.
        Memlock = "memlock",
        /// POSIX message queues, in bytes.
        Msgqueue = "msgqueue",
        /// Ceiling of the nice value, as 20 minus it.
        Nice = "nice",
        /// Open descriptors, one more than the greatest number.
        Nofile = "nofile",
        /// Processes of the user.
        Nproc = "nproc",
        /// Realtime priority.
        Rtprio = "rtprio",
        /// Realtime CPU time without a system call, in microseconds.
        Rttime = "rttime",
        /// Queued signals.
        Sigpending = "sigpending",
        /// Stack, in bytes.
        Stack = "stack",
    }
}

/// Resource limits, soft and hard alike; none is "unlimited". No resource twice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rlimits(pub Vec<(Resource, Option<u64>)>);

const LIMIT: &str = "a number, a size, or 'unlimited'";

impl Kind for Rlimits {
    const ENTRIES: bool = true;

    fn name() -> String {
        "a table of limits".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let Value::Table(table) = &node.value else {
            return Err(Problem::expected("a table of limits", node).into());
        };
        collect(table.iter().map(|entry| limit(entry, cx))).map(Self)
    }

    fn json(&self) -> Json {
        let limits = self.0.iter().map(|(resource, limit)| {
            let limit = limit.map_or(Json::from("unlimited"), Json::from);
            (resource.as_str().to_owned(), limit)
        });
        Json::Object(limits.collect())
    }

    fn schema() -> Json {
        json!({
            "type": "object",
            "propertyNames": {"enum": Resource::WORDS},
            "additionalProperties": {"anyOf": [Bytes::schema(), {"const": "unlimited"}]},
        })
    }
}

fn limit(entry: &Entry, cx: &Context) -> Read<(Resource, Option<u64>)> {
    // The key is read as if it were a value, to get its place and its suggestion.
    let key = Node {
        at: entry.key_at.clone(),
        value: Value::String(entry.key.clone()),
    };
    let inside = |problems: Vec<Problem>| -> Vec<Problem> {
        problems.into_iter().map(|p| p.inside(&entry.key)).collect()
    };
    let resource = Resource::read(&key, cx).map_err(inside)?;
    let node = plain(&entry.node, cx).map_err(inside)?;
    if matches!(&node.value, Value::String(word) if word == "unlimited") {
        return Ok((resource, None));
    }
    match Bytes::read(&node, cx) {
        Ok(Bytes(value)) => Ok((resource, Some(value))),
        Err(_) => {
            let found = node.to_json();
            Err(inside(
                Problem::new(&node, format!("expected {LIMIT}, found {found}")).into(),
            ))
        }
    }
}

/// A capability; see capabilities(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capability(pub caps::Capability);

impl Kind for Capability {
    fn name() -> String {
        "the name of a capability".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let written = text(node, &Self::name(), cx)?;
        let upper = written.to_uppercase();
        let full = format!("CAP_{}", upper.trim_start_matches("CAP_"));
        caps::Capability::from_str(&full).map(Self).map_err(|_| {
            let known: Vec<String> = caps::all().iter().map(ToString::to_string).collect();
            Problem::new(node, format!("'{written}' is not a capability"))
                .suggesting(nearest(&full, known.iter().map(String::as_str)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_as_people_write_them() {
        let number = |text| Signal::parse(text).map(Signal::number);
        assert_eq!(number("SIGTERM"), Some(15));
        assert_eq!(number("term"), Some(15));
        assert_eq!(number("9"), Some(9));
        assert_eq!(number("SIGRTMIN+3"), Some(libc::SIGRTMIN() + 3));
        assert_eq!(number("RTMAX"), Some(libc::SIGRTMAX()));
        for wrong in ["", "0", "65", "-1", "SIG", "SIGRTMIN-1", "RTMIN+99", "TREM"] {
            assert_eq!(number(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_signal_is_shown_as_it_can_be_read() {
        for number in 1..=libc::SIGRTMAX() {
            let shown = match Signal(number).json() {
                Json::String(name) => name,
                number => number.to_string(),
            };
            assert_eq!(Signal::parse(&shown), Some(Signal(number)), "{shown}");
        }
    }
}
