//! Which events a subscriber hears: the parameter `topics` of `Subscribe`.
//!
//! A topic is `watcher.<name>.<action>` or `circusd.<action>`, and a name may have dots of its
//! own; so a pattern is read from both ends, and never as one glob over the whole topic, in which
//! `watcher.web.*` would catch the watcher `web.eu` too.

use super::error::Error;
use super::select::{PatternError, Selector};

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope<'a> {
    /// The watcher of this name.
    Watcher(&'a str),
    /// The daemon itself.
    Circusd,
}

/// One pattern of topics: scope, name and action, each a word or a shell-style pattern.
///
/// `watcher.web.*` is the watcher `web` alone; `watcher.*` every event of every watcher; `*.spawn`
/// every spawn; `circusd.*` the daemon's own. A pattern of one part is a scope: `*` is everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    scope: Selector,
    name: Option<Selector>,
    action: Selector,
}

/// A pattern of topics that cannot be read, or could never match.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// One of its parts is empty.
    #[error("topic pattern '{pattern}' has an empty part")]
    EmptyPart {
        /// The pattern.
        pattern: String,
    },
    /// No event has such a scope; only those of watchers have a name.
    #[error("topic pattern '{pattern}' matches no scope: there are 'watcher' and 'circusd'")]
    NoSuchScope {
        /// The pattern.
        pattern: String,
    },
    /// One of its parts is not a shell-style pattern.
    #[error("topic pattern '{pattern}' cannot be read")]
    Part {
        /// The pattern.
        pattern: String,
        /// What is wrong with the part.
        #[source]
        source: PatternError,
    },
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// [`TopicError`] if it is malformed, or names a scope that no event has: a subscription that
    /// cannot hear anything is a mistake.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        let (scope, name, action) = parts(text);
        if [Some(scope), name, Some(action)].contains(&Some("")) {
            return Err(TopicError::EmptyPart {
                pattern: text.to_owned(),
            });
        }
        let read = |part: &str| {
            Selector::parse(Some(part)).map_err(|source| TopicError::Part {
                pattern: text.to_owned(),
                source,
            })
        };
        let pattern = Self {
            scope: read(scope)?,
            name: name.map(read).transpose()?,
            action: read(action)?,
        };
        let daemons_own = pattern.name.is_none() && pattern.scope.matches("circusd");
        if !daemons_own && !pattern.scope.matches("watcher") {
            return Err(TopicError::NoSuchScope {
                pattern: text.to_owned(),
            });
        }
        Ok(pattern)
    }

    /// Whether it matches the topic of `scope` and `action`.
    #[must_use]
    pub fn matches(&self, scope: Scope<'_>, action: &str) -> bool {
        let scope_matches = match scope {
            Scope::Watcher(watcher) => {
                self.scope.matches("watcher")
                    && self.name.as_ref().is_none_or(|name| name.matches(watcher))
            }
            Scope::Circusd => self.name.is_none() && self.scope.matches("circusd"),
        };
        scope_matches && self.action.matches(action)
    }
}

/// All the patterns of one subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// `None` is everything.
    patterns: Option<Vec<Pattern>>,
}

impl Filter {
    /// Reads the parameter `topics`; `None` is everything.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidParameter`] if one of them cannot be read, or there are none: to hear
    /// nothing cannot be meant.
    pub fn parameter(topics: Option<&[String]>) -> Result<Self, Error> {
        let invalid = || Error::invalid_parameter("topics");
        let Some(topics) = topics else {
            return Ok(Self { patterns: None });
        };
        if topics.is_empty() {
            return Err(invalid());
        }
        let patterns: Result<_, _> = topics.iter().map(|topic| Pattern::parse(topic)).collect();
        Ok(Self {
            patterns: Some(patterns.map_err(|_| invalid())?),
        })
    }

    /// Whether one of the patterns matches.
    #[must_use]
    pub fn matches(&self, scope: Scope<'_>, action: &str) -> bool {
        let Some(patterns) = &self.patterns else {
            return true;
        };
        patterns
            .iter()
            .any(|pattern| pattern.matches(scope, action))
    }
}

/// Scope, name and action of a pattern as texts.
fn parts(text: &str) -> (&str, Option<&str>, &str) {
    let Some((scope, rest)) = text.split_once('.') else {
        return (text, None, "*");
    };
    match rest.rsplit_once('.') {
        Some((name, action)) => (scope, Some(name), action),
        None => (scope, None, rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPICS: [(Scope<'_>, &str); 5] = [
        (Scope::Watcher("web"), "spawn"),
        (Scope::Watcher("web"), "reap"),
        (Scope::Watcher("web.eu"), "spawn"),
        (Scope::Watcher("spawn"), "reap"),
        (Scope::Circusd, "ready"),
    ];

    /// `heard` has a `+` for each of [`TOPICS`] that `pattern` matches.
    fn check(pattern: &str, heard: &str) {
        let parsed = Pattern::parse(pattern).unwrap();
        let hears = |&(scope, action): &_| {
            if parsed.matches(scope, action) {
                '+'
            } else {
                '-'
            }
        };
        assert_eq!(
            TOPICS.iter().map(hears).collect::<String>(),
            heard,
            "{pattern}"
        );
    }

    #[test]
    fn a_pattern_is_read_from_both_ends() {
        check("watcher.web.*", "++---");
        check("watcher.web.eu.*", "--+--");
        check("watcher.web*.*", "+++--");
        check("watcher.*", "++++-");
        check("watcher.*.*", "++++-");
        check("*.spawn", "+-+--");
        check("*.*.spawn", "+-+--");
        check("*.*.ready", "-----");
        check("watcher.[w].*", "-----");
        check("watcher.spawn", "+-+--");
        check("circusd.*", "----+");
        check("*.*", "+++++");
        check("*", "+++++");
        check("watcher", "++++-");
        check("c*.r?ady", "----+");
        check("*.[!r]*", "+-+--");
    }

    #[test]
    fn what_could_never_match_is_refused() {
        let patterns = [
            "",
            ".",
            "watcher.",
            ".spawn",
            "watcher..spawn",
            "watchers.web.*",
            "spawn",
            "circusd.web.ready",
            "watcher.[.spawn",
            "watcher.***.x",
        ];
        for pattern in patterns {
            assert!(Pattern::parse(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn a_filter_is_everything_or_any_of_its_patterns() {
        let filter = Filter::parameter(None).unwrap();
        assert!(
            TOPICS
                .iter()
                .all(|&(scope, action)| filter.matches(scope, action))
        );
        let filter = Filter::parameter(Some(&["*.reap".into(), "circusd.*".into()])).unwrap();
        let heard = TOPICS
            .iter()
            .filter(|&&(scope, action)| filter.matches(scope, action));
        assert_eq!(heard.count(), 3);
        for wrong in [vec![], vec!["*".to_owned(), "x.y".to_owned()]] {
            assert_eq!(
                Filter::parameter(Some(&wrong)),
                Err(Error::invalid_parameter("topics"))
            );
        }
    }
}
