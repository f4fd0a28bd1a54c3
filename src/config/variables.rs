//! `$(circus.…)` in the text of a value.
//!
//! Expanded once: what a variable of the environment contains is never looked at again, neither
//! here nor when the per-process variables are filled in.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::diagnostic::nearest;
use super::socket::{FIRST_SOCKET, Socket};

/// What values are read against: the environment of circusd and whose daemon it is.
///
/// A copy, taken once: reading a value never looks at the process it runs in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Context {
    pub(crate) env: BTreeMap<String, String>,
    /// The machine's daemon rather than a user's own.
    pub(crate) system: bool,
    pub(crate) uid: u32,
    /// A program has the library run its workers.
    pub(crate) embedded: bool,
}

impl Context {
    /// `$HOME`, or `/` for want of one.
    pub(crate) fn home(&self) -> PathBuf {
        self.variable("HOME").map_or("/".into(), PathBuf::from)
    }

    /// A variable that is set and not empty: the XDG base directory rules take empty for unset.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.env
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }
}

/// Why the variables of a text cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum VariableError {
    #[error("'$(circus.' without its closing parenthesis")]
    Unclosed,
    #[error("'$(circus.env.{name})': no such variable in the environment of circusd")]
    NotInEnvironment {
        name: String,
        suggestion: Option<String>,
    },
    #[error("'$(circus.{name})': no such variable")]
    Unknown {
        name: String,
        suggestion: Option<String>,
    },
    #[error(
        "'$(circus.{0})' has no value here, only in cmd, args, env, files of output, ready and health \
         of a watcher"
    )]
    NoProcess(String),
    #[error("'$(circus.sockets.{0})' has no value here: a probe inherits no sockets")]
    NoSockets(String),
    #[error("'$(circus.{0})' has no value here, only in the prefix of a stream")]
    OnlyInPrefix(String),
    #[error("'$(circus.{0})' has no value in a prefix")]
    NotInPrefix(String),
    #[error("contains a NUL character")]
    Nul,
}

impl VariableError {
    pub(crate) fn suggestion(&self) -> Option<String> {
        match self {
            Self::NotInEnvironment { suggestion, .. } | Self::Unknown { suggestion, .. } => {
                suggestion.clone()
            }
            Self::Unclosed
            | Self::NoProcess(_)
            | Self::NoSockets(_)
            | Self::OnlyInPrefix(_)
            | Self::NotInPrefix(_)
            | Self::Nul => None,
        }
    }
}

/// A text that is the same for every process but for its number and its descriptors.
///
/// `$(circus.wid)` and `$(circus.sockets.NAME)` are filled in by [`Template::expand`]; everything
/// else is final.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Wid,
    Socket(String),
    Pid,
    Watcher,
}

/// What a text is for, which decides the variables it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// To make a process from.
    Start,
    /// To stand before the lines of one that runs.
    Line,
}

/// What differs from process to process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filling<'a> {
    /// The number of the process in its watcher, from 1.
    pub wid: u32,
    /// The sockets it inherits, in the order of their descriptors.
    pub sockets: &'a [Socket],
    /// Its watcher; only the prefix of a line names it.
    pub watcher: &'a str,
    /// Its pid; only the prefix of a line names it, as before that there is none.
    pub pid: i32,
}

impl Use {
    /// Those that have no name in them.
    fn variables(self) -> &'static [&'static str] {
        match self {
            Self::Start => &["wid"],
            Self::Line => &["wid", "pid", "watcher"],
        }
    }
}

impl Filling<'_> {
    fn descriptor(&self, socket: &str) -> Option<usize> {
        let index = self.sockets.iter().position(|known| known.name == socket)?;
        Some(FIRST_SOCKET + index)
    }
}

impl Template {
    /// A text without variables, whatever it looks like.
    pub fn literal(text: impl Into<String>) -> Self {
        Self(vec![Part::Text(text.into())])
    }

    /// Reads `$(circus.env.NAME)` at once and keeps the others for later.
    pub(crate) fn parse(text: &str, cx: &Context) -> Result<Self, VariableError> {
        Self::parse_for(Use::Start, text, cx)
    }

    /// The same for what stands before the lines of a process: `$(circus.pid)` and
    /// `$(circus.watcher)` have a value there, and its sockets do not matter.
    pub(crate) fn parse_prefix(text: &str, cx: &Context) -> Result<Self, VariableError> {
        Self::parse_for(Use::Line, text, cx)
    }

    fn parse_for(purpose: Use, text: &str, cx: &Context) -> Result<Self, VariableError> {
        if text.contains('\0') {
            return Err(VariableError::Nul);
        }
        let mut template = Self::default();
        let mut rest = text;
        while let Some(start) = rest.find(OPENING) {
            template.push(&rest[..start]);
            let inside = &rest[start + OPENING.len()..];
            let end = inside.find(')').ok_or(VariableError::Unclosed)?;
            template.variable(purpose, &inside[..end], cx)?;
            rest = &inside[end + 1..];
        }
        template.push(rest);
        Ok(template)
    }

    /// The text for one process. A socket that it does not inherit leaves nothing; the
    /// configuration has been checked for that.
    pub fn expand(&self, filling: Filling<'_>) -> String {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Wid => text.push_str(&filling.wid.to_string()),
                Part::Pid => text.push_str(&filling.pid.to_string()),
                Part::Watcher => text.push_str(filling.watcher),
                Part::Socket(name) => {
                    let descriptor = filling.descriptor(name);
                    text.push_str(&descriptor.map(|fd| fd.to_string()).unwrap_or_default());
                }
            }
        }
        text
    }

    /// The sockets whose descriptors it names.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Socket(name) => Some(name.as_str()),
            Part::Text(_) | Part::Wid | Part::Pid | Part::Watcher => None,
        })
    }

    /// Whether it comes to an absolute path.
    pub(crate) fn is_absolute(&self) -> bool {
        matches!(self.0.first(), Some(Part::Text(text)) if text.starts_with('/'))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn push(&mut self, text: &str) {
        match self.0.last_mut() {
            _ if text.is_empty() => {}
            Some(Part::Text(last)) => last.push_str(text),
            Some(Part::Wid | Part::Socket(_) | Part::Pid | Part::Watcher) | None => {
                self.0.push(Part::Text(text.to_owned()))
            }
        }
    }

    fn variable(&mut self, purpose: Use, name: &str, cx: &Context) -> Result<(), VariableError> {
        let socket = name.strip_prefix("sockets.");
        let part = match (name, socket) {
            ("wid", _) => Some(Part::Wid),
            ("pid", _) => Some(Part::Pid),
            ("watcher", _) => Some(Part::Watcher),
            (_, Some(socket)) => Some(Part::Socket(socket.to_owned())),
            (_, None) => None,
        };
        match (part, purpose) {
            (Some(Part::Pid | Part::Watcher), Use::Start) => {
                return Err(VariableError::OnlyInPrefix(name.to_owned()));
            }
            (Some(Part::Socket(_)), Use::Line) => {
                return Err(VariableError::NotInPrefix(name.to_owned()));
            }
            (Some(part), _) => {
                self.0.push(part);
                return Ok(());
            }
            (None, _) => {}
        }
        let Some(variable) = name.strip_prefix("env.") else {
            return Err(VariableError::Unknown {
                name: name.to_owned(),
                suggestion: nearest(name, purpose.variables().iter().copied())
                    .map(|known| format!("$(circus.{known})")),
            });
        };
        match cx.env.get(variable) {
            Some(value) => {
                self.push(value);
                Ok(())
            }
            None => Err(VariableError::NotInEnvironment {
                name: variable.to_owned(),
                suggestion: nearest(variable, cx.env.keys().map(String::as_str))
                    .map(|known| format!("$(circus.env.{known})")),
            }),
        }
    }
}

impl fmt::Display for Template {
    /// With its variables as written; what came from the environment is in place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.0 {
            match part {
                Part::Text(literal) => f.write_str(literal)?,
                Part::Wid => f.write_str("$(circus.wid)")?,
                Part::Socket(name) => write!(f, "$(circus.sockets.{name})")?,
                Part::Pid => f.write_str("$(circus.pid)")?,
                Part::Watcher => f.write_str("$(circus.watcher)")?,
            }
        }
        Ok(())
    }
}

/// `$(date)` and the like are the shell's, not ours.
const OPENING: &str = "$(circus.";

/// Whether `text` starts with something only the environment knows.
pub(crate) fn starts_with_environment(text: &str) -> bool {
    text.starts_with("$(circus.env.")
}

/// Whether there is anything to expand.
pub(crate) fn has_variable(text: &str) -> bool {
    text.contains(OPENING)
}

/// Expands a text that cannot differ from process to process.
pub(crate) fn expand(text: &str, cx: &Context) -> Result<String, VariableError> {
    let template = Template::parse(text, cx)?;
    let variable = template.0.iter().find_map(|part| match part {
        Part::Text(_) | Part::Pid | Part::Watcher => None,
        Part::Wid => Some("wid".to_owned()),
        Part::Socket(name) => Some(format!("sockets.{name}")),
    });
    match variable {
        Some(variable) => Err(VariableError::NoProcess(variable)),
        None => Ok(template.expand(Filling::default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        let env = [
            ("PATH", "/bin"),
            ("TRAP", "$(circus.wid)$(circus.env.PATH)"),
        ];
        Context {
            env: env
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into_iter()
                .collect(),
            ..Context::default()
        }
    }

    #[test]
    fn what_is_inherited_is_not_expanded_a_second_time() {
        let template = Template::parse("$(circus.wid):$(circus.env.TRAP)", &context()).unwrap();
        let filling = Filling {
            wid: 7,
            ..Filling::default()
        };
        assert_eq!(
            template.expand(filling),
            "7:$(circus.wid)$(circus.env.PATH)"
        );
    }

    #[test]
    fn a_variable_that_does_not_exist_is_an_error() {
        let error = |text| expand(text, &context()).unwrap_err();
        let missing = error("$(circus.env.PAHT)");
        assert_eq!(missing.suggestion().as_deref(), Some("$(circus.env.PATH)"));
        let no_process = |name: &str| VariableError::NoProcess(name.to_owned());
        assert_eq!(error("$(circus.wid)"), no_process("wid"));
        assert_eq!(error("$(circus.env.PATH"), VariableError::Unclosed);
        assert_eq!(error("$(circus.sockets.web)"), no_process("sockets.web"));
        assert_eq!(error("a\0"), VariableError::Nul);
        assert!(matches!(
            error("$(circus.uid)"),
            VariableError::Unknown { .. }
        ));
    }

    #[test]
    fn only_the_prefix_of_a_line_knows_the_pid() {
        let prefix = Template::parse_prefix(
            "$(circus.watcher).$(circus.wid)[$(circus.pid)] ",
            &context(),
        );
        let filling = Filling {
            wid: 2,
            watcher: "web",
            pid: 42,
            ..Filling::default()
        };
        assert_eq!(prefix.unwrap().expand(filling), "web.2[42] ");
        let error = Template::parse("$(circus.pid)", &context()).unwrap_err();
        assert_eq!(error, VariableError::OnlyInPrefix("pid".into()));
        let error = Template::parse_prefix("$(circus.pidd)", &context()).unwrap_err();
        assert_eq!(error.suggestion().as_deref(), Some("$(circus.pid)"));
        let error = Template::parse_prefix("$(circus.sockets.web)", &context()).unwrap_err();
        assert_eq!(error, VariableError::NotInPrefix("sockets.web".into()));
    }

    #[test]
    fn what_is_the_shells_is_left_to_the_shell() {
        assert_eq!(
            expand("$(date) $HOME", &context()).unwrap(),
            "$(date) $HOME"
        );
    }
}
