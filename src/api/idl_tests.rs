//! The IDL and the code say the same, in both directions.
//!
//! The samples are made from the IDL: every field filled, or only the required ones. What the code
//! lacks is lost or refused on the way through its types; what it has too much of is seen in the
//! lists of fields and words that serde derives.

mod parser;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use serde::de::value::Error as Plain;
use serde::de::{self, DeserializeOwned, Deserializer, Visitor};
use serde::{Serialize, forward_to_deserialize_any};
use serde_json::{Map, Value, json};

use self::parser::{Interface, Type};
use super::error::Error;
use super::method::{METHODS, Method, Role, Streaming};
use super::{params, reply, service, types};

/// A value of `ty`: with every field, or with the required ones only. Of an enum, the word `nth`.
fn sample(idl: &Interface, ty: &Type, full: bool, nth: usize) -> Value {
    match ty {
        Type::Bool => json!(true),
        Type::Int => json!(7),
        Type::Float => json!(0.5),
        Type::String => json!("text"),
        Type::Object => json!({"a": [1, "b"]}),
        Type::Named(name) => sample(idl, &idl.types[name], full, nth),
        Type::Enum(words) => json!(words[nth % words.len()]),
        Type::Array(of) => json!([sample(idl, of, full, nth), sample(idl, of, full, nth + 1)]),
        Type::Maybe(of) => sample(idl, of, full, nth),
        Type::Struct(fields) => {
            let wanted = fields
                .iter()
                .filter(|(_, ty)| full || !matches!(ty, Type::Maybe(_)));
            wanted
                .map(|(name, ty)| (name.clone(), sample(idl, ty, full, nth)))
                .collect()
        }
    }
}

/// More than any enum of the IDL has words.
const WORDS_MAX: usize = 16;

/// Every sample of `ty` comes out of `through` as it went in; without a required field, none does.
fn check_samples<E: Debug>(
    idl: &Interface,
    ty: &Type,
    through: impl Fn(Value) -> Result<Value, E>,
) {
    for (full, nth) in (0..WORDS_MAX).flat_map(|nth| [(true, nth), (false, nth)]) {
        let sample = sample(idl, ty, full, nth);
        assert_eq!(through(sample.clone()).unwrap(), sample, "{ty:?}");
    }
    for (name, field) in ty.fields() {
        let mut sample = sample(idl, ty, true, 0);
        sample[name] = Value::Null;
        let nullable = matches!(field, Type::Maybe(_));
        assert_eq!(
            through(sample).is_ok(),
            nullable,
            "null for {name} of {ty:?}"
        );
    }
}

fn check_struct<T: Serialize + DeserializeOwned>(idl: &Interface, ty: &Type) {
    let wanted: Vec<_> = ty.fields().iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(fields::<T>(), wanted, "{}", std::any::type_name::<T>());
    check_samples(idl, ty, |value| {
        serde_json::from_value::<T>(value).map(|typed| serde_json::to_value(typed).unwrap())
    });
}

/// The fields that `T` has.
fn fields<T: DeserializeOwned>() -> &'static [&'static str] {
    struct Spy<'a>(&'a mut &'static [&'static str]);

    impl<'de> Deserializer<'de> for Spy<'_> {
        type Error = Plain;

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Plain> {
            *self.0 = fields;
            Err(de::Error::custom("seen"))
        }

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Plain> {
            Err(de::Error::custom("not a struct"))
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
            option unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier
            ignored_any
        }
    }

    let mut fields: &'static [&'static str] = &["not a struct"];
    let seen = T::deserialize(Spy(&mut fields));
    assert!(seen.is_err(), "the spy gives no value");
    fields
}

/// The words that serde says it would have taken in the place of a wrong one.
fn words<T: DeserializeOwned + Debug>(wrong: Value) -> BTreeSet<String> {
    let message = serde_json::from_value::<T>(wrong).unwrap_err().to_string();
    let (_, expected) = message
        .split_once("expected")
        .expect("a list of the right words");
    expected
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

fn check_words<T: DeserializeOwned + Debug>(idl: &[String]) {
    let idl: BTreeSet<_> = idl.iter().cloned().collect();
    assert_eq!(
        words::<T>(json!("no such word")),
        idl,
        "{}",
        std::any::type_name::<T>()
    );
}

#[test]
fn every_type_has_its_counterpart() {
    type Check = fn(&Interface, &Type);
    let idl = Interface::parse(super::IDL);
    let checks: BTreeMap<&str, Check> = BTreeMap::from([
        ("Exit", check_struct::<types::Exit> as Check),
        ("Process", check_struct::<types::Process>),
        ("Reason", check_struct::<types::Reason>),
        ("Watcher", check_struct::<types::Watcher>),
        ("Progress", check_struct::<types::Progress>),
        ("Change", check_struct::<types::Change>),
        ("ProcessStats", check_struct::<types::ProcessStats>),
        ("DescendantStats", check_struct::<types::DescendantStats>),
        ("SupervisorStats", check_struct::<types::SupervisorStats>),
        ("Setting", check_struct::<types::Setting>),
        ("Socket", check_struct::<types::Socket>),
        ("Event", check_struct::<types::Event>),
        ("ConfigChange", check_struct::<types::ConfigChange>),
    ]);
    assert!(checks.keys().eq(idl.types.keys()), "{:?}", idl.types.keys());
    for (name, check) in checks {
        check(&idl, &idl.types[name]);
    }
}

#[test]
fn every_word_of_an_enum_has_its_counterpart() {
    let idl = Interface::parse(super::IDL);
    let words = |ty: &str, field: &str| idl.types[ty].field(field).words();
    check_words::<types::ExitCause>(words("Exit", "cause"));
    check_words::<types::ProcessState>(words("Process", "state"));
    check_words::<types::ReasonCause>(words("Reason", "cause"));
    check_words::<types::WatcherState>(words("Watcher", "state"));
    check_words::<types::OnChange>(words("Setting", "on_change"));
    check_words::<types::ConfigChangeKind>(words("ConfigChange", "change"));
    check_words::<types::Recipients>(idl.method("Signal").0.field("recipients").words());
    check_words::<types::Effect>(idl.method("Set").1.field("effect").words());
}

#[test]
fn every_method_has_a_variant_and_back() {
    let idl = Interface::parse(super::IDL);
    let names = idl.methods.iter().map(|(name, ..)| name.as_str());
    assert!(
        METHODS.iter().map(|row| row.short_name).eq(names),
        "the table is in the order of the IDL"
    );
    for (row, (_, (params, _))) in METHODS.iter().zip(&idl.methods) {
        check_samples(&idl, params, |sample| {
            let Value::Object(parameters) = sample else {
                panic!("{sample} is no object")
            };
            let method = Method::parse(row.name, parameters)?;
            assert_eq!((method.name(), method.row()), (row.name, row));
            Ok::<_, Error>(Value::Object(method.parameters()))
        });
        for (name, ty) in params.fields() {
            let mut parameters = sample(&idl, params, true, 0);
            parameters[name] = if matches!(ty, Type::Int) {
                json!("7")
            } else {
                json!(0.5)
            };
            let Value::Object(parameters) = parameters else {
                panic!("no object")
            };
            let refused = Method::parse(row.name, parameters);
            assert_eq!(refused, Err(Error::invalid_parameter(name)), "{}", row.name);
        }
        let unknown = Map::from_iter([("no_such".to_owned(), Value::Null)]);
        let refused = Method::parse(row.name, unknown);
        assert_eq!(
            refused,
            Err(Error::invalid_parameter("no_such")),
            "{}",
            row.name
        );
    }
}

/// The IDL groups its methods by what they are for, and says above each whether it requires `more`.
#[test]
fn roles_and_streams_are_those_of_the_idl() {
    let mut role = None;
    let mut required = false;
    let mut rows = METHODS.iter();
    for line in super::IDL.lines() {
        match line.strip_prefix("# ---- ") {
            Some("looking" | "hearing") => role = Some(Role::Observe),
            Some("acting") => role = Some(Role::Operate),
            Some("changing" | "being asked" | "the daemon itself") => role = Some(Role::Admin),
            Some(other) => panic!("whose role is '{other}'?"),
            None => {}
        }
        required |= line.starts_with("# Requires `more`");
        if line.starts_with("method ") {
            let row = rows.next().unwrap();
            let streams = row.streaming == Streaming::Required;
            assert_eq!((Some(row.role), streams), (role, required), "{line}");
            required = false;
        }
    }
    assert!(rows.next().is_none());
}

fn check_method<P, R>(idl: &Interface, seen: &mut Vec<String>, name: &str)
where
    P: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned,
{
    let (params, reply) = idl.method(name);
    check_struct::<P>(idl, params);
    check_struct::<R>(idl, reply);
    seen.push(name.to_owned());
}

#[test]
fn every_answer_has_its_counterpart() {
    let idl = Interface::parse(super::IDL);
    let seen = &mut Vec::new();
    check_method::<params::Watchers, reply::Names>(&idl, seen, "List");
    check_method::<params::Watchers, reply::Status>(&idl, seen, "Status");
    check_method::<params::Explain, reply::Explain>(&idl, seen, "Explain");
    check_method::<params::Stats, reply::Stats>(&idl, seen, "Stats");
    check_method::<params::Nothing, reply::DaemonStats>(&idl, seen, "DaemonStats");
    check_method::<params::Nothing, reply::ListSockets>(&idl, seen, "ListSockets");
    check_method::<params::Get, reply::Get>(&idl, seen, "Get");
    check_method::<params::GetSettings, reply::GetSettings>(&idl, seen, "GetSettings");
    check_method::<params::Verb, reply::Changes>(&idl, seen, "Start");
    check_method::<params::Verb, reply::Changes>(&idl, seen, "Stop");
    check_method::<params::Verb, reply::Changes>(&idl, seen, "Restart");
    check_method::<params::Reload, reply::Changes>(&idl, seen, "Reload");
    check_method::<params::Scale, reply::Scale>(&idl, seen, "Scale");
    check_method::<params::Signal, reply::Pids>(&idl, seen, "Signal");
    check_method::<params::Kill, reply::Pids>(&idl, seen, "Kill");
    check_method::<params::Watchers, reply::Names>(&idl, seen, "Freeze");
    check_method::<params::Watchers, reply::Names>(&idl, seen, "Thaw");
    check_method::<params::Add, reply::Empty>(&idl, seen, "Add");
    check_method::<params::Remove, reply::Empty>(&idl, seen, "Remove");
    check_method::<params::Set, reply::Set>(&idl, seen, "Set");
    check_method::<params::Nothing, reply::ConfigChanges>(&idl, seen, "GetConfigChanges");
    check_method::<params::Nothing, reply::ConfigChanges>(&idl, seen, "ReloadConfig");
    check_method::<params::Subscribe, reply::Subscribe>(&idl, seen, "Subscribe");
    check_method::<params::RegisterHook, reply::RegisterHook>(&idl, seen, "RegisterHook");
    check_method::<params::HookResult, reply::Empty>(&idl, seen, "HookResult");
    check_method::<params::Nothing, reply::Empty>(&idl, seen, "Reexec");
    check_method::<params::Quit, reply::Empty>(&idl, seen, "Quit");
    assert!(
        seen.iter().eq(idl.methods.iter().map(|(name, ..)| name)),
        "{seen:?}"
    );
}

#[test]
fn every_error_has_a_variant_and_back() {
    let interfaces = [super::IDL, service::IDL].map(Interface::parse);
    let mut names = BTreeSet::new();
    for idl in &interfaces {
        for (name, ty) in &idl.errors {
            let name = format!("{}.{name}", idl.name);
            check_samples(idl, ty, |sample| {
                let error = Error::from_wire(&name, Some(sample))?;
                assert!(!error.sentence().ends_with('.'), "{error}");
                let (wire, parameters) = error.to_wire();
                assert_eq!(wire, name);
                Ok::<_, super::error::UnknownError>(Value::Object(parameters))
            });
            names.insert(name);
        }
    }
    assert_eq!(
        words::<Error>(json!({"error": "no such error", "parameters": {}})),
        names
    );
}

#[test]
fn the_service_describes_itself() {
    let idl = Interface::parse(service::IDL);
    assert_eq!(idl.name, service::INTERFACE);
    assert_eq!(Interface::parse(super::IDL).name, super::INTERFACE);
    check_struct::<service::Info>(&idl, &idl.method("GetInfo").1);
    let (params, reply) = idl.method("GetInterfaceDescription");
    check_struct::<service::GetInterfaceDescription>(&idl, params);
    check_struct::<service::Description>(&idl, reply);
    for interface in service::info().interfaces {
        let asked = service::GetInterfaceDescription {
            interface: interface.clone(),
        };
        let described = service::describe(&asked).unwrap().description;
        assert_eq!(Interface::parse(&described).name, interface);
    }
    for (name, ..) in &idl.methods {
        let full_name = format!("{}.{name}", service::INTERFACE);
        let params = sample(&idl, &idl.method(name).0, true, 0);
        let Value::Object(params) = params else {
            panic!("no object")
        };
        assert!(
            service::Method::parse(&full_name, params).is_ok(),
            "{full_name}"
        );
    }
    let asked = service::GetInterfaceDescription {
        interface: "org.example".into(),
    };
    let unknown = Error::InterfaceNotFound {
        interface: "org.example".into(),
    };
    assert_eq!(service::describe(&asked), Err(unknown));
}
