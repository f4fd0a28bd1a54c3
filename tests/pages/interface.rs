//! The interface io.circusd for io.circusd(7): its definitions with their comments, and what the
//! table of methods adds.

use circusd::api::method::{METHODS, Row};
use circusd::api::{IDL, Role, Streaming};

use super::roff::{example, paragraph};

/// Longer lines do not fit an indented example on a terminal of 80 columns.
const WIDTH: usize = 66;

/// One definition: `method Status(...) -> (...)`.
#[derive(Debug)]
struct Definition {
    keyword: &'static str,
    name: String,
    /// Its own comment, without the signs.
    comment: String,
    text: String,
}

/// A block for every method, type and error.
pub(crate) fn blocks() -> Vec<(String, String)> {
    definitions()
        .iter()
        .map(|definition| {
            let mut text = example(&broken(&definition.text));
            let mut said = vec![String::new()];
            if definition.keyword == "method" {
                said.push(paragraph(&rules(row(&definition.name))));
            }
            if !definition.comment.is_empty() {
                said.push(paragraph(&definition.comment));
            }
            text.push_str(&said.join(".PP\n"));
            (format!("{} {}", definition.keyword, definition.name), text)
        })
        .collect()
}

fn definitions() -> Vec<Definition> {
    let mut definitions = Vec::new();
    let mut comment = String::new();
    let mut lines = IDL.lines();
    while let Some(line) = lines.next() {
        if let Some(said) = line.strip_prefix('#') {
            comment.push_str(said);
            continue;
        }
        let keyword = ["method", "type", "error"]
            .into_iter()
            .find(|keyword| line.starts_with(&format!("{keyword} ")));
        if let Some(keyword) = keyword {
            let mut text = line.to_owned();
            while text.matches('(').count() > text.matches(')').count() {
                let next = lines.next().expect("every parenthesis is closed");
                text = format!("{text}\n{next}");
            }
            let name = text[keyword.len()..].trim_start();
            let name = name.split([' ', '(']).next().expect("even nothing splits");
            definitions.push(Definition {
                keyword,
                name: name.to_owned(),
                comment: comment.clone(),
                text,
            });
        }
        // A comment belongs to what follows it at once; the rest are headings.
        comment.clear();
    }
    definitions
}

fn row(name: &str) -> &'static Row {
    let found = METHODS.iter().find(|row| row.short_name == name);
    found.unwrap_or_else(|| panic!("the table has no method {name}"))
}

fn rules(row: &Row) -> String {
    let role = match row.role {
        Role::Observe => "`observe`",
        Role::Operate => "`operate`",
        Role::Admin => "`admin`",
    };
    let streaming = match row.streaming {
        Streaming::Never => "One reply.",
        Streaming::Optional => "With `more` there may be several replies.",
        Streaming::Required => "Only with `more`.",
    };
    format!("Role: {role}. {streaming}")
}

/// A definition without long lines.
fn broken(text: &str) -> String {
    let text = match text.lines().count() {
        1 if text.len() > WIDTH => spread(text),
        _ => text.to_owned(),
    };
    text.lines().map(fold).collect::<Vec<_>>().join("\n")
}

/// One line as several: every member on its own.
fn spread(line: &str) -> String {
    let mut text = String::new();
    let mut depth = 0;
    let mut chars = line.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        match char {
            '(' if depth == 1 && chars.peek() != Some(&')') => text.push_str("(\n  "),
            ')' if depth == 0 && !text.ends_with('(') => text.push_str("\n)"),
            ',' if depth == 1 => {
                text.push_str(",\n  ");
                chars.next_if_eq(&' ');
            }
            other => text.push(other),
        }
    }
    text
}

/// A line that is too long goes on in the next, further in; a comment as a comment.
fn fold(line: &str) -> String {
    let indent = line.len() - line.trim_start().len();
    let lead = match line.trim_start().starts_with("# ") {
        true => format!("\n{}# ", " ".repeat(indent)),
        false => format!("\n{}", " ".repeat(indent + 2)),
    };
    let mut text = " ".repeat(indent);
    let mut column = indent;
    for (index, word) in line.split_whitespace().enumerate() {
        if index > 0 && column + 1 + word.len() > WIDTH {
            text.push_str(&lead);
            column = lead.len() - 1;
        } else if index > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += word.len();
    }
    text
}
