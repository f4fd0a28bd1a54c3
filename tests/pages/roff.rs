//! Text as man(7) wants it: escaped, and no line of source too long.
//!
//! Knows no page.

/// mandoc thinks that a line of source should be no longer than 80 bytes.
const WIDTH: usize = 78;

/// A paragraph; what stands between backquotes is set in bold.
pub(crate) fn paragraph(text: &str) -> String {
    let mut bold = false;
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let word = inline(word, &mut bold);
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(&word),
            Some(line) if line.len() + 1 + word.len() <= WIDTH && !ends_sentence(line) => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    assert!(!bold, "a backquote is open: {text}");
    lines.iter().map(|line| guarded(line) + "\n").collect()
}

/// A word of a paragraph; a font that is on at its end is on in the next.
fn inline(word: &str, bold: &mut bool) -> String {
    let mut text = String::new();
    for (index, part) in word.split('`').enumerate() {
        if index > 0 {
            *bold = !*bold;
            text.push_str(if *bold { r"\fB" } else { r"\fR" });
        }
        text.push_str(&escape(part));
    }
    text
}

/// An entry of a list: its tag in bold, what it takes in italics.
pub(crate) fn entry(tag: &str, value: Option<&str>, text: &str) -> String {
    let value = value.map_or_else(String::new, |value| format!(r" \fI{}\fR", escape(value)));
    format!(".TP\n\\fB{}\\fR{value}\n{}", escape(tag), paragraph(text))
}

/// Lines that are shown as they are.
pub(crate) fn example(text: &str) -> String {
    let lines: String = text
        .lines()
        .map(|line| guarded(&escape(line)) + "\n")
        .collect();
    format!(".EX\n{lines}.EE\n")
}

/// A line that begins like a request is none.
fn guarded(line: &str) -> String {
    match line.starts_with(['.', '\'']) {
        true => format!(r"\&{line}"),
        false => line.to_owned(),
    }
}

/// roff wants the next sentence on a line of its own.
fn ends_sentence(line: &str) -> bool {
    line.trim_end_matches(r"\fR").ends_with('.')
}

fn escape(text: &str) -> String {
    text.replace('\\', r"\e")
        .replace('-', r"\-")
        .replace('\'', r"\(aq")
        .replace('~', r"\(ti")
        .replace('^', r"\(ha")
}
