//! A worker whose output tells whether a line is missing.

use std::collections::BTreeMap;

/// Counts, each line in two pieces, and says at its end how far it came.
pub(crate) const COUNTER: &str = r#"
#!/bin/sh
i=0
trap 'over=1' TERM
while [ -z "$over" ]; do printf "$$ "; echo "$i"; i=$((i+1)); done
echo "$$ end $i"
"#;

/// The most that may be written twice at once: what is read from a pipe at once.
pub(crate) const BATCH_BYTES: usize = 64 * 1024;

/// What is said about the lines of a counter.
#[derive(Debug, Default)]
pub(crate) struct Count {
    next: usize,
    /// How many bytes were written twice, each time that was so.
    pub(crate) repeated: Vec<usize>,
    /// It has said how far it came.
    pub(crate) ended: bool,
}

/// Holds the lines of counters to it that none is missing and none torn; says of each, by its pid, what was
/// written twice.
pub(crate) fn counted(text: &str) -> BTreeMap<String, Count> {
    let mut all: BTreeMap<String, Count> = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let (pid, number, is_end) = match words[..] {
            [pid, number] => (pid, number, false),
            [pid, "end", number] => (pid, number, true),
            _ => panic!("torn: '{line}'"),
        };
        let number: usize = number
            .parse()
            .unwrap_or_else(|error| panic!("torn: '{line}': {error}"));
        let count = all.entry(pid.to_owned()).or_default();
        assert!(number <= count.next, "before '{line}': {count:?}");
        if number < count.next {
            count
                .repeated
                .push((count.next - number) * (line.len() + 1));
        }
        count.next = number + usize::from(!is_end);
        count.ended |= is_end;
    }
    all
}
