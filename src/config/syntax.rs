//! TOML text into nodes with places.
//!
//! Does not know what any key means, nor where the text came from.

use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::diagnostic::Diagnostic;
use super::node::{Entry, Node, Place, Source, Table, Value};

/// A document as far as it could be read, and every fault of its syntax.
pub(crate) struct Parsed {
    pub(crate) table: Table,
    pub(crate) errors: Vec<Diagnostic>,
}

/// Parses the text of `source`; a source without text is an empty document.
///
/// Nesting is limited by the parser (80 levels), so what follows may recurse.
pub(crate) fn parse(source: &Arc<Source>) -> Parsed {
    let text = source.text.as_deref().unwrap_or_default();
    let (document, faults) = DeTable::parse_recoverable(text);
    let mut reader = Reader {
        source,
        errors: Vec::new(),
    };
    for fault in faults {
        let span = fault.span().unwrap_or(text.len()..text.len());
        let reason = match (fault.message(), text.get(span.clone())) {
            // Two sections of one name are told so too, and then the name is what helps.
            (message @ "duplicate key", Some(key)) => format!("{message} '{key}'"),
            (message, _) => message.to_owned(),
        };
        reader.fault(span.start, &reason);
    }
    let table = reader.table(document.get_ref());
    Parsed {
        table,
        errors: reader.errors,
    }
}

/// Reads `text` as one TOML value, for a flag or a variable; none if it is not one.
pub(crate) fn parse_value(text: &str, source: &Arc<Source>) -> Option<Node> {
    let parsed = DeValue::parse(text).ok()?;
    let mut reader = Reader {
        source,
        errors: Vec::new(),
    };
    let mut node = reader.node(&parsed);
    // Offsets into the flag's value would be taken for offsets into a file.
    move_to(&mut node, &Place::start(source));
    reader.errors.is_empty().then_some(node)
}

/// The parts of a dotted key, quotes taken off: `watcher."web.1".cmd`.
pub(crate) fn parse_key(text: &str) -> Option<Vec<String>> {
    // A line break would let the "key" bring a whole document along.
    if text.contains(['\n', '\r', '=']) {
        return None;
    }
    let line = format!("{text} = 0");
    let document = DeTable::parse(&line).ok()?;
    let mut parts = Vec::new();
    let mut table = document.get_ref();
    loop {
        let mut entries = table.iter();
        let (Some((key, value)), None) = (entries.next(), entries.next()) else {
            return None;
        };
        parts.push(key.get_ref().to_string());
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => return Some(parts),
        }
    }
}

fn move_to(node: &mut Node, place: &Place) {
    node.at = place.clone();
    match &mut node.value {
        Value::Array(items) => items.iter_mut().for_each(|item| move_to(item, place)),
        Value::Table(table) => {
            for entry in table.iter_mut() {
                entry.key_at = place.clone();
                move_to(&mut entry.node, place);
            }
        }
        Value::Null
        | Value::Boolean(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::String(_)
        | Value::Datetime(_) => {}
    }
}

struct Reader<'a> {
    source: &'a Arc<Source>,
    errors: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn place(&self, offset: usize) -> Place {
        Place {
            source: Arc::clone(self.source),
            offset,
        }
    }

    fn fault(&mut self, offset: usize, reason: &str) {
        let place = self.place(offset);
        self.errors.push(Diagnostic::at(&place, None, reason));
    }

    /// The parser sorts by key; the places tell the order written.
    fn table(&mut self, table: &DeTable<'_>) -> Table {
        let mut entries: Vec<Entry> = table
            .iter()
            .map(|(key, value)| Entry {
                key: key.get_ref().to_string(),
                key_at: self.place(key.span().start),
                node: self.node(value),
            })
            .collect();
        entries.sort_by_key(|entry| entry.key_at.offset);
        entries.into_iter().collect()
    }

    fn node(&mut self, value: &Spanned<DeValue<'_>>) -> Node {
        let start = value.span().start;
        let read = match value.get_ref() {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Integer(number) => Value::Integer(self.integer(number, start)),
            DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Datetime(date) => Value::Datetime(date.to_string()),
            DeValue::Array(items) => {
                Value::Array(items.iter().map(|item| self.node(item)).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Node {
            at: self.place(start),
            value: read,
        }
    }

    fn integer(&mut self, number: &DeInteger<'_>, offset: usize) -> i64 {
        i64::from_str_radix(number.as_str(), number.radix()).unwrap_or_else(|_| {
            self.fault(offset, "an integer must fit 64 bits");
            0
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::node::Origin;

    fn source(text: &str) -> Arc<Source> {
        Source::file("a.toml".as_ref(), text.into(), Origin::File)
    }

    #[test]
    fn keys_come_in_the_order_written_with_their_places() {
        let parsed = parse(&source("b = 1\n  a = \"é\"\n[z]\nq = 0x1_0\n"));
        assert!(parsed.errors.is_empty());
        let keys: Vec<_> = parsed
            .table
            .iter()
            .map(|e| (e.key.as_str(), e.key_at.line_column()))
            .collect();
        assert_eq!(
            keys,
            [
                ("b", Some((1, 1))),
                ("a", Some((2, 3))),
                ("z", Some((3, 2)))
            ]
        );
        assert_eq!(parsed.table.get("z").unwrap().to_json()["q"], 16);
    }

    #[test]
    fn every_syntax_error_is_told() {
        let parsed = parse(&source("a = \nb = 1\nb = 2\nc = 99999999999999999999\n"));
        let lines: Vec<_> = parsed.errors.iter().map(|e| e.line).collect();
        assert_eq!(lines, [Some(1), Some(3), Some(4)], "{:?}", parsed.errors);
    }

    #[test]
    fn a_key_is_split_at_its_dots_but_not_inside_quotes() {
        let split = |text| parse_key(text).unwrap();
        assert_eq!(split("watcher.web.cmd"), ["watcher", "web", "cmd"]);
        assert_eq!(split("watcher.\"web.1\".cmd"), ["watcher", "web.1", "cmd"]);
        assert_eq!(parse_key("a\nb = 1\nc"), None);
        assert_eq!(parse_key(""), None);
    }

    #[test]
    fn garbage_is_an_error_and_not_a_panic() {
        for text in [
            "\0", "[[[[", "é = é", "a = [", "\u{feff}", "=", "a.b.c", "'''",
        ] {
            parse(&source(text));
        }
        let deep = format!("a = {}", "[".repeat(100_000));
        assert!(!parse(&source(&deep)).errors.is_empty());
    }
}
