//! A reader of the varlink interface definition language, as much of it as our own IDL uses.
//!
//! It panics on what it does not know: it only ever reads texts of this crate.

use std::collections::BTreeMap;

/// A definition.
#[derive(Debug, Default)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) types: BTreeMap<String, Type>,
    /// Name, parameters and answer, in the order written.
    pub(super) methods: Vec<(String, (Type, Type))>,
    pub(super) errors: Vec<(String, Type)>,
}

/// What a field may hold.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Type {
    Bool,
    Int,
    Float,
    String,
    Object,
    Named(String),
    Enum(Vec<String>),
    Struct(Vec<(String, Type)>),
    Array(Box<Type>),
    Maybe(Box<Type>),
}

impl Interface {
    pub(super) fn parse(text: &str) -> Self {
        let mut tokens = Tokens::new(text);
        let mut idl = Self::default();
        while let Some(keyword) = tokens.next() {
            let name = tokens.word();
            match keyword.as_str() {
                "interface" => idl.name = name,
                "type" => {
                    let ty = tokens.ty();
                    assert!(idl.types.insert(name.clone(), ty).is_none(), "{name} twice");
                }
                "method" => {
                    let params = tokens.ty();
                    tokens.expect("->");
                    idl.methods.push((name, (params, tokens.ty())));
                }
                "error" => idl.errors.push((name, tokens.ty())),
                other => panic!("'{other}' is no keyword"),
            }
        }
        idl
    }

    pub(super) fn method(&self, name: &str) -> &(Type, Type) {
        let found = self.methods.iter().find(|(known, _)| known == name);
        &found.unwrap_or_else(|| panic!("no method {name}")).1
    }
}

impl Type {
    pub(super) fn fields(&self) -> &[(String, Type)] {
        match self {
            Self::Struct(fields) => fields,
            other => panic!("{other:?} is no struct"),
        }
    }

    pub(super) fn field(&self, name: &str) -> &Type {
        let found = self.fields().iter().find(|(known, _)| known == name);
        &found.unwrap_or_else(|| panic!("no field {name}")).1
    }

    pub(super) fn words(&self) -> &[String] {
        match self {
            Self::Enum(words) => words,
            Self::Maybe(of) => of.words(),
            other => panic!("{other:?} is no enum"),
        }
    }
}

struct Tokens(std::iter::Peekable<std::vec::IntoIter<String>>);

impl Tokens {
    fn new(text: &str) -> Self {
        let mut tokens: Vec<String> = Vec::new();
        for line in text.lines() {
            let code = line.split('#').next().unwrap_or_default();
            let spaced = ["->", "(", ")", ",", ":", "?", "[]"]
                .iter()
                .fold(code.to_owned(), |code, sign| {
                    code.replace(sign, &format!(" {sign} "))
                });
            tokens.extend(spaced.split_whitespace().map(str::to_owned));
        }
        Self(tokens.into_iter().peekable())
    }

    fn next(&mut self) -> Option<String> {
        self.0.next()
    }

    fn word(&mut self) -> String {
        self.next().expect("a word and not the end")
    }

    fn expect(&mut self, sign: &str) {
        assert_eq!(self.word(), sign);
    }

    fn take(&mut self, sign: &str) -> bool {
        self.0.next_if(|token| token == sign).is_some()
    }

    fn ty(&mut self) -> Type {
        match self.word().as_str() {
            "?" => Type::Maybe(Box::new(self.ty())),
            "[]" => Type::Array(Box::new(self.ty())),
            "bool" => Type::Bool,
            "int" => Type::Int,
            "float" => Type::Float,
            "string" => Type::String,
            "object" => Type::Object,
            "(" => self.members(),
            name if name.starts_with(char::is_uppercase) => Type::Named(name.to_owned()),
            other => panic!("'{other}' is no type"),
        }
    }

    /// The members of a struct or an enum, behind the opening parenthesis.
    fn members(&mut self) -> Type {
        let (mut fields, mut words) = (Vec::new(), Vec::new());
        while !self.take(")") {
            let name = self.word();
            if self.take(":") {
                fields.push((name, self.ty()));
            } else {
                words.push(name);
            }
            if !self.take(",") {
                self.expect(")");
                break;
            }
        }
        assert!(
            fields.is_empty() || words.is_empty(),
            "{fields:?} and {words:?} in one type"
        );
        if words.is_empty() {
            Type::Struct(fields)
        } else {
            Type::Enum(words)
        }
    }
}
