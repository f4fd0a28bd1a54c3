//! A Rust source file as the walls see it: tokens with their lines, and whether they are test code.
//!
//! Deliberately not a parser. It knows what a comment, a literal and a block are, so that a word
//! in a text is never taken for code; all else is words and signs.

use std::path::{Path, PathBuf};

/// One file, read and taken apart.
pub(crate) struct Source {
    /// Relative to the repository, with `/`.
    pub(crate) path: String,
    /// As it is on disk.
    pub(crate) text: String,
    /// In order, without comments and literals.
    pub(crate) tokens: Vec<Token>,
    /// Modules of other files that only tests see: `#[cfg(test)] mod tests;`.
    pub(crate) test_modules: Vec<String>,
}

/// A word, or one sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    /// From 1.
    pub(crate) line: usize,
    /// Inside an item marked `#[cfg(test)]`.
    pub(crate) in_test: bool,
    /// How many inline `mod name { … }` it stands in.
    pub(crate) inline_modules: usize,
}

impl Source {
    /// Takes `text` apart, as if it were the file `path`.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let mut tokens = tokenize(&without_comments_and_literals(text));
        let test_modules = mark_tests(&mut tokens);
        mark_inline_modules(&mut tokens);
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            tokens,
            test_modules,
        }
    }

    /// The words from token `at` on, as far as asked for.
    pub(crate) fn words(&self, at: usize) -> impl Iterator<Item = &str> {
        self.tokens[at..].iter().map(|token| token.text.as_str())
    }

    /// Whether the tokens from `at` on read like `pattern`.
    pub(crate) fn reads(&self, at: usize, pattern: &[&str]) -> bool {
        self.tokens.len() >= at + pattern.len()
            && self
                .words(at)
                .zip(pattern)
                .all(|(word, wanted)| word == *wanted)
    }
}

/// All Rust files below `directory` of the repository, in a fixed order.
pub(crate) fn read_all(directory: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    collect(&root.join(directory), &mut paths);
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let text = std::fs::read_to_string(path).expect("a source file can be read");
            let relative = path
                .strip_prefix(root)
                .expect("it was found below the root");
            Source::new(&relative.to_string_lossy(), &text)
        })
        .collect()
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) {
    // A repository without benches or examples is no mistake.
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries {
        let path = entry.expect("a directory of sources can be read").path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

/// The same text with blanks for comments and literals; lines stay where they are.
fn without_comments_and_literals(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = skip_one(&chars, at);
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            code.extend(
                chars[at..end]
                    .iter()
                    .map(|c| if *c == '\n' { '\n' } else { ' ' }),
            );
            at = end;
        }
    }
    code
}

/// Where the comment or literal that begins at `at` ends; `at` itself if none begins there.
fn skip_one(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1).copied();
    let in_word = at > 0 && is_word(chars[at - 1]);
    match chars[at] {
        '/' if next == Some('/') => find(chars, at, |c| c == '\n'),
        '/' if next == Some('*') => end_of_block_comment(chars, at),
        '"' => end_of_string(chars, at + 1),
        'r' if !in_word => end_of_raw_string(chars, at, at + 1),
        'b' | 'c' if !in_word && next == Some('r') => end_of_raw_string(chars, at, at + 2),
        '\'' => end_of_char(chars, at),
        _ => at,
    }
}

fn find(chars: &[char], from: usize, wanted: impl Fn(char) -> bool) -> usize {
    let rest = &chars[from..];
    from + rest.iter().position(|c| wanted(*c)).unwrap_or(rest.len())
}

fn end_of_block_comment(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at.min(chars.len())
}

fn end_of_string(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// `start` if this is a word that begins with `r` (or a raw name, `r#type`), not a raw string.
fn end_of_raw_string(chars: &[char], start: usize, mut at: usize) -> usize {
    let first_hash = at;
    while chars.get(at) == Some(&'#') {
        at += 1;
    }
    let hashes = at - first_hash;
    if chars.get(at) != Some(&'"') {
        return start;
    }
    let mut closing = vec!['"'];
    closing.resize(1 + hashes, '#');
    let rest = &chars[at + 1..];
    match rest
        .windows(closing.len())
        .position(|window| window == closing)
    {
        Some(length) => at + 1 + length + closing.len(),
        None => chars.len(),
    }
}

/// `at` if this is a lifetime, not a character.
fn end_of_char(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => {
            (find(chars, (at + 3).min(chars.len()), |c| c == '\'') + 1).min(chars.len())
        }
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn tokenize(code: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = if is_word(first) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            tokens.push(Token {
                text: rest[..length].to_owned(),
                line: number + 1,
                in_test: false,
                inline_modules: 0,
            });
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

/// Marks every item behind `#[cfg(test)]`; returns the modules among them that are other files.
fn mark_tests(tokens: &mut [Token]) -> Vec<String> {
    const CFG_TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut modules = Vec::new();
    for at in 0..tokens.len() {
        let is_mark = tokens.len() - at > CFG_TEST.len()
            && tokens[at..]
                .iter()
                .zip(CFG_TEST)
                .all(|(token, wanted)| token.text == wanted);
        if !is_mark {
            continue;
        }
        let item = at + CFG_TEST.len();
        let end = end_of_item(tokens, item);
        let words: Vec<&str> = tokens[item..end]
            .iter()
            .map(|token| token.text.as_str())
            .collect();
        if let [.., "mod", name, ";"] = words[..] {
            modules.push(name.to_owned());
        }
        tokens[at..end]
            .iter_mut()
            .for_each(|token| token.in_test = true);
    }
    modules
}

/// Behind the `;` or the block that ends the item.
fn end_of_item(tokens: &[Token], from: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            ")" | "]" => depth -= 1,
            "}" => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

fn mark_inline_modules(tokens: &mut [Token]) {
    for at in 0..tokens.len() {
        let opens = at + 2 < tokens.len() && tokens[at].text == "mod" && tokens[at + 2].text == "{";
        if opens {
            let end = end_of_item(tokens, at);
            tokens[at + 2..end]
                .iter_mut()
                .for_each(|token| token.inline_modules += 1);
        }
    }
}
