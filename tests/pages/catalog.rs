//! The message catalog of the journal: what `journalctl -x` shows below a record of circusd.
//!
//! The form is that of journald's catalog files: an id, header fields, a blank line, text.

use circusd::api::action::{ACTIONS, DENIED, Message};

const HEAD: &str = "\
# What the records of circusd in the journal mean; shown by journalctl -x. Made from the table of
# events in src/api/action/table.rs.
#
# Goes to /usr/lib/systemd/catalog, and is in force after journalctl --update-catalog.
";

const WIDTH: usize = 76;

/// The whole file.
pub(crate) fn catalog() -> String {
    let messages = ACTIONS.iter().map(|action| action.message).chain([DENIED]);
    messages
        .map(|message| entry(&message))
        .fold(HEAD.to_owned(), |all, one| all + "\n" + &one)
}

fn entry(message: &Message) -> String {
    format!(
        "-- {}\nSubject: {}\nDefined-By: circusd\nSupport: {}/issues\n\
         Documentation: man:circusd-events(7)\n\n{}",
        message.id,
        message.subject,
        env!("CARGO_PKG_REPOSITORY"),
        folded(message.text)
    )
}

fn folded(text: &str) -> String {
    let mut folded = String::new();
    let mut width = 0;
    for word in text.split_whitespace() {
        let separator = match width {
            0 => "",
            width if width + 1 + word.len() > WIDTH => "\n",
            _ => " ",
        };
        width = match separator {
            "\n" => word.len(),
            _ => width + separator.len() + word.len(),
        };
        folded.push_str(separator);
        folded.push_str(word);
    }
    folded + "\n"
}
