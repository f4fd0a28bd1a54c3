//! What is wrong with a configuration, and where: one [`Diagnostic`] per fault, all of them in
//! [`Errors`].
//!
//! Nothing in here decides whether something is a fault, or prints anything.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::node::Place;

/// A longer line would bury the message it is to explain.
const LINE_MAX: usize = 400;

/// What is shorter begins too many words to hint at one of them.
const BEGINNING_MIN: usize = 3;

/// One fault (or one warning): where it is, which key it concerns, what is wrong, and what was
/// probably meant.
///
/// `Display` writes `file:line:column: key: reason`, then the offending line with a mark below it,
/// then the suggestion; each on a line of its own, without a newline at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnostic {
    /// The file, or what else the value came from: `--set`, `CIRCUSD_LOG_LEVEL`, `Set`.
    /// Empty where no source is to blame.
    pub file: String,
    /// Counted from 1; absent where the source is not a file.
    pub line: Option<usize>,
    /// In characters, counted from 1.
    pub column: Option<usize>,
    /// The full name of the setting (`watcher.web.cmd`), or the option as the client wrote it.
    pub key: Option<String>,
    /// What is wrong: lowercase, no full stop.
    pub reason: String,
    /// What was probably meant, ready to be put in place of what was written.
    pub suggestion: Option<String>,
    /// The offending line as written, without its line end; none if it is very long.
    pub text: Option<String>,
}

impl Diagnostic {
    /// A fault at `place`.
    pub(crate) fn at(place: &Place, key: Option<String>, reason: impl Into<String>) -> Self {
        let position = place.line_column();
        Self {
            file: place.source.name.clone(),
            line: position.map(|p| p.0),
            column: position.map(|p| p.1),
            key,
            reason: reason.into(),
            suggestion: None,
            text: place
                .line_text()
                .filter(|line| line.len() <= LINE_MAX)
                .map(str::to_owned),
        }
    }

    /// A fault of the file (or other source) as a whole.
    pub(crate) fn of(file: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            line: None,
            column: None,
            key: None,
            reason: reason.into(),
            suggestion: None,
            text: None,
        }
    }

    pub(crate) fn suggesting(mut self, suggestion: Option<String>) -> Self {
        self.suggestion = suggestion;
        self
    }

    /// What makes it the same fault, under whatever name: a value of `[defaults]` is read once
    /// for itself and once for each watcher. Without a position only the name says where it is.
    fn identity(&self) -> (String, Option<usize>, Option<usize>, Option<String>, String) {
        let (file, reason) = (self.file.clone(), self.reason.clone());
        let key = self.key.clone().filter(|_| self.line.is_none());
        (file, self.line, self.column, key, reason)
    }

    fn write_position(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.file.is_empty() {
            return Ok(());
        }
        f.write_str(&self.file)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        f.write_str(": ")
    }

    fn write_line(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(text), Some(column)) = (&self.text, self.column) else {
            return Ok(());
        };
        // Tabs are kept, so that the mark stands below its character on any terminal.
        let indent: String = text
            .chars()
            .take(column - 1)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        write!(f, "\n    {text}\n    {indent}^")
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_position(f)?;
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.reason)?;
        self.write_line(f)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "\n    did you mean '{suggestion}'?"),
            None => Ok(()),
        }
    }
}

/// Every fault that was found, in the order of the files and of the lines in them; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors(Vec<Diagnostic>);

impl Errors {
    /// # Panics
    ///
    /// If `diagnostics` is empty: an error that is none would be refused without a reason.
    pub(crate) fn new(mut diagnostics: Vec<Diagnostic>) -> Self {
        assert!(!diagnostics.is_empty(), "errors without an error");
        let mut seen = HashSet::new();
        diagnostics.retain(|fault| seen.insert(fault.identity()));
        // What is missing, and what does not go together, is found only when all has been read.
        let mut order = HashMap::new();
        for fault in &diagnostics {
            let next = order.len();
            order.entry(fault.file.clone()).or_insert(next);
        }
        diagnostics.sort_by_key(|fault| (order[&fault.file], fault.line, fault.column));
        Self(diagnostics)
    }

    /// The faults; at least one.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.0
    }

    /// The faults, taken out.
    pub fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.0
    }

    /// The first of them, for where only one can be told.
    pub fn first(&self) -> &Diagnostic {
        &self.0[0]
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            diagnostic.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// The one of `known` that `written` was probably meant to be.
///
/// At most one change, and one more per four characters: farther words are other words, unless
/// one begins with the other (`environment`). Of equally near ones it is always the same, the one
/// nearest in length. Nothing is meant by a word longer than any of ours, and comparing it would
/// take long.
pub(crate) fn nearest<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    if written.len() > 64 {
        return None;
    }
    let written = written.to_lowercase();
    let far = 1 + written.chars().count() / 4;
    known
        .into_iter()
        .map(|word| (distance(&written, &word.to_lowercase()), word))
        .filter(|(distance, _)| *distance <= far)
        .min_by_key(|(distance, word)| (*distance, word.len().abs_diff(written.len()), *word))
        .map(|(_, word)| word.to_owned())
}

/// How many changes make one word of the other; to cut a word short counts as one.
fn distance(written: &str, known: &str) -> usize {
    let shorter = written.len().min(known.len());
    match shorter >= BEGINNING_MIN && written.as_bytes()[..shorter] == known.as_bytes()[..shorter] {
        true => 1.min(written.len() - shorter + known.len() - shorter),
        false => strsim::osa_distance(written, known),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested_and_a_far_one_is_not() {
        let known = ["numprocesses", "env", "cmd"];
        assert_eq!(
            nearest("numproceses", known).as_deref(),
            Some("numprocesses")
        );
        assert_eq!(nearest("Cmd", known).as_deref(), Some("cmd"));
        assert_eq!(nearest("completely", known), None);
        assert_eq!(nearest("environment", known).as_deref(), Some("env"));
        let capabilities = ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_NET_BIND_SERVICE"];
        let suggested = nearest("CAP_NET_BIND", capabilities);
        assert_eq!(suggested.as_deref(), Some("CAP_NET_BIND_SERVICE"));
    }

    #[test]
    fn of_equally_near_words_the_same_is_suggested_whatever_their_order() {
        let known = ["CAP_A", "CAP_B"];
        let suggested = nearest("CAP_C", known);
        assert_eq!(suggested, nearest("CAP_C", known.into_iter().rev()));
    }

    #[test]
    fn faults_are_told_in_the_order_of_files_and_lines() {
        let fault = |file: &str, line, reason: &str| Diagnostic {
            line,
            column: line,
            ..Diagnostic::of(file, reason)
        };
        let errors = Errors::new(vec![
            fault("b.toml", Some(7), "a late line"),
            fault("a.toml", Some(1), "another file"),
            fault("--set", None, "no line"),
            fault("b.toml", Some(2), "found when all was read"),
        ]);
        let told: Vec<_> = errors.diagnostics().iter().map(|d| &*d.reason).collect();
        let expected = [
            "found when all was read",
            "a late line",
            "another file",
            "no line",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn the_same_fault_is_told_once() {
        let fault = Diagnostic {
            line: Some(1),
            column: Some(1),
            ..Diagnostic::of("a.toml", "wrong")
        };
        let again = Diagnostic {
            key: Some("watcher.web.cmd".into()),
            ..fault.clone()
        };
        assert_eq!(Errors::new(vec![fault, again]).diagnostics().len(), 1);
    }

    #[test]
    fn without_a_position_the_same_fault_of_two_settings_is_told_twice() {
        let fault = |key: &str| Diagnostic {
            key: Some(key.into()),
            ..Diagnostic::of("the program", "wrong")
        };
        let errors = vec![
            fault("watcher.a.uid"),
            fault("watcher.b.uid"),
            fault("watcher.a.uid"),
        ];
        assert_eq!(Errors::new(errors).diagnostics().len(), 2);
    }
}
