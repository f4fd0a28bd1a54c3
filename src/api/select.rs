//! Which watchers a call is about: the parameter `watchers`.
//!
//! It knows names only; in what order a verb goes through them is not decided here.

use glob::Pattern;

use super::error::Error;

/// How long a pattern may be, in bytes. A name has at most 128, so four times that leaves room for
/// sets of characters; what is longer is refused, so that matching is never dear.
pub const PATTERN_BYTES_MAX: usize = 512;

/// A name, or a shell-style pattern of names: `*`, `?`, `[ab]`, `[!a-z]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// Every watcher.
    All,
    /// The watcher of this name; there must be one.
    Name(String),
    /// Every watcher whose name matches; there may be none.
    Matching(Pattern),
}

/// A pattern that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// It is not a shell-style pattern.
    #[error("'{pattern}' is not a pattern: {reason}")]
    Malformed {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// It is too long.
    #[error("a pattern of {bytes} bytes is longer than {PATTERN_BYTES_MAX}")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
}

impl Selector {
    /// Reads `text`; `None` and `*` are every watcher.
    ///
    /// # Errors
    ///
    /// [`PatternError`], which `io.circusd` answers as `InvalidParameter`.
    pub fn parse(text: Option<&str>) -> Result<Self, PatternError> {
        match text {
            None | Some("*") => Ok(Self::All),
            Some(text) if text.len() > PATTERN_BYTES_MAX => {
                Err(PatternError::TooLong { bytes: text.len() })
            }
            Some(text) if text.contains(['*', '?', '[']) => pattern(text).map(Self::Matching),
            Some(text) => Ok(Self::Name(text.to_owned())),
        }
    }

    /// Reads the parameter `watchers`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidParameter`] if it is no name and no pattern.
    pub fn parameter(watchers: Option<&str>) -> Result<Self, Error> {
        Self::parse(watchers).map_err(|_| Error::invalid_parameter("watchers"))
    }

    /// Whether `name` is selected.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Name(wanted) => wanted == name,
            Self::Matching(pattern) => pattern.matches(name),
        }
    }

    /// The names selected, in their order.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchWatcher`] if a plain name is not among them. A pattern that matches none
    /// selects none.
    pub fn select<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<&'a str>, Error> {
        let selected: Vec<_> = names
            .into_iter()
            .filter(|name| self.matches(name))
            .collect();
        match self {
            Self::Name(watcher) if selected.is_empty() => Err(Error::NoSuchWatcher {
                watcher: watcher.clone(),
            }),
            Self::Name(_) | Self::All | Self::Matching(_) => Ok(selected),
        }
    }
}

fn pattern(text: &str) -> Result<Pattern, PatternError> {
    Pattern::new(text).map_err(|e| PatternError::Malformed {
        pattern: text.to_owned(),
        reason: e.msg,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(watchers: Option<&str>, expected: Result<&[&str], Error>) {
        let names = ["api", "web", "web.eu", "web2"];
        let selected = Selector::parameter(watchers).and_then(|s| s.select(names));
        assert_eq!(selected, expected.map(<[_]>::to_vec), "{watchers:?}");
    }

    #[test]
    fn a_name_must_be_there_and_a_pattern_need_not_match() {
        check(None, Ok(&["api", "web", "web.eu", "web2"]));
        check(Some("*"), Ok(&["api", "web", "web.eu", "web2"]));
        check(Some("web"), Ok(&["web"]));
        check(Some("web*"), Ok(&["web", "web.eu", "web2"]));
        check(Some("web?"), Ok(&["web2"]));
        check(Some("[!w]*"), Ok(&["api"]));
        check(Some("db*"), Ok(&[]));
        check(
            Some("db"),
            Err(Error::NoSuchWatcher {
                watcher: "db".into(),
            }),
        );
        check(
            Some(""),
            Err(Error::NoSuchWatcher {
                watcher: String::new(),
            }),
        );
        check(
            Some("WEB"),
            Err(Error::NoSuchWatcher {
                watcher: "WEB".into(),
            }),
        );
        check(Some("web["), Err(Error::invalid_parameter("watchers")));
        check(Some("web***"), Err(Error::invalid_parameter("watchers")));
        check(
            Some(&"*a".repeat(PATTERN_BYTES_MAX)),
            Err(Error::invalid_parameter("watchers")),
        );
    }

    #[test]
    fn the_dearest_pattern_is_soon_done() {
        let pattern = Selector::parse(Some(&"*a".repeat(PATTERN_BYTES_MAX / 2))).unwrap();
        assert!(!pattern.matches(&"a".repeat(128)));
        let pattern = Selector::parse(Some(&format!("{}b", "*a".repeat(60)))).unwrap();
        assert!(!pattern.matches(&"a".repeat(128)));
    }
}
