//! The table of settings: one row per key, written once and read by everything that needs it.
//!
//! `section!` makes from the same lines the typed struct and its rows: name, type, default,
//! unit, range, what a change does, since which version, one sentence. Nothing in here knows a
//! particular key.

use serde_json::{Map, Value as Json};

use super::kind::{Problem, Range, Read};
use super::node::{Node, Table};
use super::variables::Context;

/// What a change of a setting does to what runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OnChange {
    /// In force at once, no process is touched.
    Live,
    /// The watcher's processes are replaced gracefully.
    Reload,
    /// In force when circusd is started again.
    RestartDaemon,
}

impl OnChange {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Reload => "reload",
            Self::RestartDaemon => "restart_daemon",
        }
    }
}

/// A section of the configuration that has rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Section {
    /// `[circusd]`: the daemon.
    Circusd,
    /// `[watcher.NAME]`, and `[defaults]` for all of them.
    Watcher,
    /// `[socket.NAME]`: a socket that workers inherit.
    Socket,
    /// `[plugin.NAME]`: a program that hears what happens.
    Plugin,
    /// `[hooks]`: what the daemon asks.
    Hooks,
    /// `[access]`: who may do what.
    Access,
}

impl Section {
    /// All of them, in the order of the manual.
    pub const ALL: [Self; 6] = [
        Self::Circusd,
        Self::Watcher,
        Self::Socket,
        Self::Plugin,
        Self::Hooks,
        Self::Access,
    ];

    /// The name in a file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Circusd => "circusd",
            Self::Watcher => "watcher",
            Self::Socket => "socket",
            Self::Plugin => "plugin",
            Self::Hooks => "hooks",
            Self::Access => "access",
        }
    }

    /// Its rows, in the order of the manual.
    pub fn rows(self) -> &'static [Row] {
        match self {
            Self::Circusd => <super::Circusd as Settings>::ROWS,
            Self::Watcher => <super::Watcher as Settings>::ROWS,
            Self::Socket => <super::Socket as Settings>::ROWS,
            Self::Plugin => <super::plugins::PluginSection as Settings>::ROWS,
            Self::Hooks => <super::DaemonHooks as Settings>::ROWS,
            Self::Access => <super::Access as Settings>::ROWS,
        }
    }

    /// The row of `key`, also where it is not available yet.
    pub fn row(self, key: &str) -> Option<&'static Row> {
        self.rows().iter().find(|row| row.key == key)
    }

    /// The keys that may be used.
    pub(crate) fn keys(self) -> impl Iterator<Item = &'static str> {
        self.rows()
            .iter()
            .filter(|row| row.available())
            .map(|row| row.key)
    }
}

/// One setting.
#[derive(Debug)]
pub struct Row {
    /// Where it stands.
    pub section: Section,
    /// Its name there.
    pub key: &'static str,
    /// What a change does.
    pub on_change: OnChange,
    /// The version of circusd that first had it.
    pub since: &'static str,
    /// Its least and its most, in its unit; most types have limits of their own besides.
    pub range: Option<Range>,
    /// The default in words, where it depends on the machine.
    pub(crate) default_text: Option<&'static str>,
    pub(crate) doc: &'static str,
    /// None for a setting of a later version: known, described, and refused.
    pub(crate) typed: Option<Typed>,
}

/// What a row can do because its type is known.
#[derive(Debug)]
pub(crate) struct Typed {
    pub(crate) name: fn() -> String,
    pub(crate) unit: &'static str,
    pub(crate) entries: bool,
    pub(crate) tables: &'static [&'static str],
    pub(crate) default: fn(&Context) -> Json,
    pub(crate) check: fn(&Node, &Context) -> Read<()>,
    pub(crate) schema: fn() -> Json,
    pub(crate) fields: fn() -> &'static [(&'static str, &'static str)],
    pub(crate) anchor: fn(&mut Node),
}

impl Row {
    /// Whether this version has it.
    pub fn available(&self) -> bool {
        self.typed.is_some()
    }

    /// Whether there is no default: it must be set.
    pub fn is_required(&self) -> bool {
        self.default_text == Some("required")
    }

    /// What it means: one sentence or two.
    pub fn description(&self) -> &'static str {
        self.doc.trim()
    }

    /// Its type in words, with an article.
    pub fn type_name(&self) -> String {
        self.typed
            .as_ref()
            .map_or_else(String::new, |typed| (typed.name)())
    }

    /// What its numbers count: `s`, `bytes`, or nothing.
    pub fn unit(&self) -> &'static str {
        self.typed.as_ref().map_or("", |typed| typed.unit)
    }

    /// The default for people to read; empty if there is none.
    pub fn default_in_words(&self) -> String {
        if let Some(text) = self.default_text {
            return text.to_owned();
        }
        match self.default(&Context::default()) {
            Json::Null => String::new(),
            Json::String(text) => text,
            value => toml(&value),
        }
    }

    /// The keys of its table and what they mean, where it has keys of its own.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let fields = self
            .typed
            .as_ref()
            .map_or(&[][..], |typed| (typed.fields)());
        fields.iter().map(|(key, doc)| (*key, doc.trim()))
    }

    /// The default as it would stand in a file; null if it is not a value.
    pub(crate) fn default(&self, cx: &Context) -> Json {
        self.typed
            .as_ref()
            .map_or(Json::Null, |typed| (typed.default)(cx))
    }

    /// Every fault of `node` as a value of this setting.
    pub(crate) fn check(&self, node: &Node, cx: &Context) -> Read<()> {
        match &self.typed {
            Some(typed) => (typed.check)(node, cx),
            None => Err(Problem::new(node, "not available in this version").into()),
        }
    }

    /// Whether a later file adds to its table entry by entry.
    pub(crate) fn has_entries(&self) -> bool {
        self.typed.as_ref().is_some_and(|typed| typed.entries)
    }

    /// The entries of its table that are tables in their turn.
    pub(crate) fn tables(&self) -> &'static [&'static str] {
        self.typed.as_ref().map_or(&[], |typed| typed.tables)
    }

    /// Makes the paths in `node` absolute.
    pub(crate) fn anchor(&self, node: &mut Node) {
        if let Some(typed) = &self.typed {
            (typed.anchor)(node);
        }
    }
}

/// A value as it would stand in a file, on one line.
fn toml(value: &Json) -> String {
    match value {
        Json::Array(items) => {
            let items: Vec<_> = items.iter().map(toml).collect();
            format!("[{}]", items.join(", "))
        }
        Json::Object(map) => {
            let pairs = map
                .iter()
                .map(|(key, value)| format!("{key} = {}", toml(value)));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => value.to_string(),
    }
}

/// Keys that start so are the user's own: kept, shown by `Get`, and never an error.
pub(crate) const USER_PREFIX: &str = "x-";

/// What a section's struct can do, for code that serves all sections alike.
pub(crate) trait Settings: Sized {
    const ROWS: &'static [Row];
    /// Reads the keys that have a row; the others are the affair of `document::check`.
    fn read(table: &Table, cx: &Context) -> Read<Self>;
    /// All values as they would stand in a file.
    fn to_json(&self) -> Map<String, Json>;
    /// The keys whose values differ.
    fn changed(&self, other: &Self) -> Vec<&'static Row>;
}

/// The key that a field stands for: `type` is a word of Rust, so its field is `r#type`.
pub(crate) const fn key_of(field: &'static str) -> &'static str {
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}

/// A section: its struct and its rows, from one list.
///
/// ```text
/// key: Type = default => "the default in words", Change, least => most;
/// ```
///
/// The default may use the context named at the top. `also` lists fields that are no settings;
/// `later` lists settings of later versions.
macro_rules! section {
    (
        $(#[$meta:meta])*
        pub struct $Name:ident for $Section:ident, given $cx:ident;
        also { $( $(#[$also_meta:meta])* $also:ident : $also_ty:ty, )* }
        $(
            $(#[doc = $doc:literal])+
            $key:ident : $ty:ty = $default:expr $(=> $words:literal)?, $change:ident
            $(, $min:literal => $max:literal)? ;
        )*
        later { $( $(#[doc = $later_doc:literal])+ $later:ident, $later_change:ident; )* }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $Name {
            $( $(#[$also_meta])* pub $also: $also_ty, )*
            $( $(#[doc = $doc])+ pub $key: $ty, )*
        }

        impl $crate::config::table::Settings for $Name {
            const ROWS: &'static [$crate::config::table::Row] = &[
                $(
                    $crate::config::table::Row {
                        section: $crate::config::table::Section::$Section,
                        key: $crate::config::table::key_of(stringify!($key)),
                        on_change: $crate::config::table::OnChange::$change,
                        since: "0.1.0",
                        range: $crate::config::table::optional!(
                            $($crate::config::kind::Range { min: $min, max: $max })?
                        ),
                        default_text: $crate::config::table::optional!($($words)?),
                        doc: concat!($($doc),+),
                        typed: Some($crate::config::table::Typed {
                            name: <$ty as $crate::config::kind::Kind>::name,
                            unit: <$ty as $crate::config::kind::Kind>::UNIT,
                            entries: <$ty as $crate::config::kind::Kind>::ENTRIES,
                            tables: <$ty as $crate::config::kind::Kind>::TABLES,
                            default: |$cx| {
                                let _ = $cx;
                                let value: $ty = $default;
                                $crate::config::kind::Kind::json(&value)
                            },
                            check: |node, cx| {
                                let range = $crate::config::table::optional!(
                                    $($crate::config::kind::Range { min: $min, max: $max })?
                                );
                                $crate::config::kind::read_within::<$ty>(node, range, cx).map(drop)
                            },
                            schema: <$ty as $crate::config::kind::Kind>::schema,
                            fields: <$ty as $crate::config::kind::Kind>::fields,
                            anchor: <$ty as $crate::config::kind::Kind>::anchor,
                        }),
                    },
                )*
                $(
                    $crate::config::table::Row {
                        section: $crate::config::table::Section::$Section,
                        key: stringify!($later),
                        on_change: $crate::config::table::OnChange::$later_change,
                        since: "",
                        range: None,
                        default_text: None,
                        doc: concat!($($later_doc),+),
                        typed: None,
                    },
                )*
            ];

            fn read(
                table: &$crate::config::node::Table,
                $cx: &$crate::config::variables::Context,
            ) -> $crate::config::kind::Read<Self> {
                let mut problems = Vec::new();
                $(
                    let $key: $ty = match table.get($crate::config::table::key_of(stringify!($key))) {
                        None => $default,
                        Some(node) => {
                            let range = $crate::config::table::optional!(
                                $($crate::config::kind::Range { min: $min, max: $max })?
                            );
                            match $crate::config::kind::read_within(node, range, $cx) {
                                Ok(value) => value,
                                Err(wrong) => {
                                    problems.extend(
                                        wrong.into_iter().map(|p| {
                                            p.inside($crate::config::table::key_of(stringify!($key)))
                                        }),
                                    );
                                    $default
                                }
                            }
                        }
                    };
                )*
                if !problems.is_empty() {
                    return Err(problems);
                }
                Ok(Self {
                    $( $also: Default::default(), )*
                    $( $key, )*
                })
            }

            fn to_json(&self) -> serde_json::Map<String, serde_json::Value> {
                [ $( (
                    $crate::config::table::key_of(stringify!($key)).to_owned(),
                    $crate::config::kind::Kind::json(&self.$key),
                ), )* ]
                .into_iter()
                .collect()
            }

            fn changed(&self, other: &Self) -> Vec<&'static $crate::config::table::Row> {
                let same = [ $( self.$key == other.$key, )* ];
                Self::ROWS
                    .iter()
                    .zip(same)
                    .filter(|(_, same)| !same)
                    .map(|(row, _)| row)
                    .collect()
            }
        }
    };
}
pub(crate) use section;

/// `Some` of what is there, or `None`.
macro_rules! optional {
    () => {
        None
    };
    ($value:expr) => {
        Some($value)
    };
}
pub(crate) use optional;
