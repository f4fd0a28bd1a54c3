//! Two shapes that types of settings have: a choice of words, and a table with keys of its own.
//!
//! Macros, so that words, keys and defaults are written once.

/// An enum whose values are words. Words in `later` are known but refused.
macro_rules! choices {
    (
        $(#[$meta:meta])*
        pub enum $Name:ident {
            $( $(#[$variant_meta:meta])* $Variant:ident = $word:literal, )*
        }
        $( later: $($later:literal),+ $(,)? )?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $Name {
            $( $(#[$variant_meta])* $Variant, )*
        }

        impl $Name {
            const WORDS: &'static [&'static str] = &[$($word),*];

            /// The word in the configuration.
            pub fn as_str(self) -> &'static str {
                match self {
                    $( Self::$Variant => $word, )*
                }
            }
        }

        impl $crate::config::kind::Kind for $Name {
            fn name() -> String {
                $crate::config::kind::one_of(Self::WORDS)
            }

            fn read(
                node: &$crate::config::node::Node,
                cx: &$crate::config::variables::Context,
            ) -> $crate::config::kind::Read<Self> {
                let word = $crate::config::kind::text(node, &Self::name(), cx)?;
                match word.as_str() {
                    $( $word => Ok(Self::$Variant), )*
                    $( $( $later => Err($crate::config::kind::not_available(node, $later)), )+ )?
                    other => Err($crate::config::kind::no_such_word(node, other, Self::WORDS)),
                }
            }

            fn json(&self) -> serde_json::Value {
                self.as_str().into()
            }

            fn schema() -> serde_json::Value {
                serde_json::json!({"enum": Self::WORDS})
            }
        }
    };
}
pub(crate) use choices;

/// A table with keys of its own: flapping, backoff, a file of output.
///
/// `switch` says whether `false` switches it off.
macro_rules! record {
    (
        $(#[$meta:meta])*
        pub struct $Name:ident ($words:literal, switch: $switch:literal) {
            $( $(#[doc = $doc:literal])+ $key:ident : $ty:ty = $default:expr
               $(, $min:literal => $max:literal)? ; )*
        }
        $( later: $($later:literal),+ $(,)? )?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $Name {
            $( $(#[doc = $doc])+ pub $key: $ty, )*
        }

        impl Default for $Name {
            fn default() -> Self {
                Self { $( $key: $default, )* }
            }
        }

        impl $crate::config::kind::Kind for $Name {
            const SWITCH: bool = $switch;

            fn name() -> String {
                $words.into()
            }

            fn read(
                node: &$crate::config::node::Node,
                cx: &$crate::config::variables::Context,
            ) -> $crate::config::kind::Read<Self> {
                use $crate::config::kind::{Problem, Range, not_available, read_within};
                const KEYS: &[&str] = &[$(stringify!($key)),*];
                const LATER: &[&str] = &[$($($later),+)?];
                let $crate::config::node::Value::Table(table) = &node.value else {
                    return Err(Problem::expected(&<Option<Self>>::name(), node).into());
                };
                let mut record = Self::default();
                let mut problems = Vec::new();
                for entry in table {
                    let read: Result<(), Vec<Problem>> = match entry.key.as_str() {
                        $( stringify!($key) => {
                            let range: &[Range] = &[$(Range { min: $min, max: $max })?];
                            read_within(&entry.node, range.first().copied(), cx)
                                .map(|value| record.$key = value)
                        } )*
                        later if LATER.contains(&later) => Err(not_available(&entry.node, later)),
                        unknown => {
                            let mut problem = Problem::new(&entry.node, "unknown key");
                            problem.at = entry.key_at.clone();
                            Err(problem
                                .suggesting($crate::config::diagnostic::nearest(
                                    unknown,
                                    KEYS.iter().copied(),
                                ))
                                .into())
                        }
                    };
                    if let Err(wrong) = read {
                        problems.extend(wrong.into_iter().map(|p| p.inside(&entry.key)));
                    }
                }
                if problems.is_empty() { Ok(record) } else { Err(problems) }
            }

            fn json(&self) -> serde_json::Value {
                serde_json::json!({ $( stringify!($key): self.$key.json() ),* })
            }

            fn schema() -> serde_json::Value {
                let mut properties = serde_json::Map::new();
                $(
                    let mut schema = <$ty as $crate::config::kind::Kind>::schema();
                    schema["description"] = concat!($($doc),+).trim().into();
                    properties.insert(stringify!($key).into(), schema);
                )*
                serde_json::json!({
                    "type": "object",
                    "properties": properties,
                    "additionalProperties": false,
                })
            }

            fn fields() -> &'static [(&'static str, &'static str)] {
                &[ $( (stringify!($key), concat!($($doc),+)) ),* ]
            }

            fn anchor(node: &mut $crate::config::node::Node) {
                if let $crate::config::node::Value::Table(table) = &mut node.value {
                    $(
                        if let Some(node) = table.get_mut(stringify!($key)) {
                            <$ty as $crate::config::kind::Kind>::anchor(node);
                        }
                    )*
                }
            }
        }
    };
}
pub(crate) use record;
