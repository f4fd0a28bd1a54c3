//! `Get`, `Set`, `Add`, `Remove`, reading again, and the difference of two stores.

use serde_json::{Map, Value as Json, json};

use super::{Machine, lines};
use crate::config::{Change, Errors, Origin, Store};

const WEB: &str = "[watcher.web]\ncmd = \"web\"\nnice = 1\nx-note = \"mine\"\n\
                   [watcher.web.env]\nA = \"file\"\nB = \"file\"\n";

fn options(value: Json) -> Map<String, Json> {
    let Json::Object(options) = value else {
        panic!("not an object: {value}");
    };
    options
}

fn get(store: &Store, key: &str) -> Json {
    store.get("web", Some(&[key.into()])).unwrap()[key].clone()
}

#[track_caller]
fn set(store: &Store, value: Json) -> Store {
    store.set("web", &options(value)).unwrap()
}

fn first_line(errors: &Errors) -> String {
    lines(errors, "/".as_ref()).remove(0)
}

#[test]
fn of_two_options_one_wrong_neither_is_applied() {
    let store = Machine::with(WEB).load();
    let errors = store
        .set(
            "web",
            &options(json!({"nice": 5, "niece": 1, "umask": 22, "after": "x", "oom": 1})),
        )
        .unwrap_err();
    assert_eq!(
        lines(&errors, "/".as_ref()),
        [
            "Set: watcher.web.niece: unknown key",
            "Set: watcher.web.umask: expected a string of octal digits, such as \"0022\", found \
             an integer",
            "Set: watcher.web.after: expected an array of names of watchers, found a string",
            "Set: watcher.web.oom: expected one of 'process', 'group', found an integer",
        ]
    );
    assert_eq!(errors.first().suggestion.as_deref(), Some("nice"));
    assert_eq!(get(&store, "nice"), 1);
}

#[test]
fn a_table_replaces_a_table_and_a_dotted_key_one_entry() {
    let store = Machine::with(WEB).load();
    let one = set(&store, json!({"env.A": "api", "env.C.D": "dots"}));
    assert_eq!(
        get(&one, "env"),
        json!({"A": "api", "B": "file", "C.D": "dots"})
    );
    assert_eq!(get(&one, "env.A"), "api");
    let whole = set(&one, json!({"env": {"X": "api"}}));
    assert_eq!(get(&whole, "env"), json!({"X": "api"}));
    let record = set(&store, json!({"flapping.window": "3s"}));
    let flapping = record.config().watchers[0].flapping.clone().unwrap();
    assert_eq!((flapping.window.as_secs(), flapping.attempts), (3, 5));
}

#[test]
fn null_goes_back_to_the_files_or_to_the_default() {
    let store = Machine::with(WEB).load();
    let changed = set(
        &store,
        json!({"nice": 5, "umask": "0027", "env": {"A": "api", "C": "api"}}),
    );
    let back = set(&changed, json!({"nice": null, "umask": null}));
    assert_eq!(
        (get(&back, "nice"), get(&back, "umask")),
        (json!(1), Json::Null)
    );
    let entry = set(&changed, json!({"env.A": null, "env.C": null}));
    assert_eq!(get(&entry, "env"), json!({"A": "file"}));
    let all = set(&entry, json!({"env": null}));
    assert_eq!(get(&all, "env"), json!({"A": "file", "B": "file"}));
    let errors = store
        .set("web", &options(json!({"niece": null})))
        .unwrap_err();
    assert_eq!(first_line(&errors), "Set: watcher.web.niece: unknown key");
}

#[test]
fn what_get_returns_can_be_given_back() {
    let store = Machine::with(WEB).load();
    let all = store.get("web", None).unwrap();
    assert_eq!(all["x-note"], "mine");
    assert_eq!(all["graceful_timeout"], "30s");
    assert_eq!(all["flapping"]["retry_in"], "7s");
    assert_eq!(all["health"], false);
    let again = store.set("web", &all).unwrap();
    assert_eq!(again.config(), store.config());
    let copy = store.add("copy", &all).unwrap();
    let mut watcher = copy.config().watcher("copy").unwrap().clone();
    watcher.name = "web".into();
    assert_eq!(Some(&watcher), store.config().watcher("web"));
}

#[test]
fn add_and_remove_change_nothing_else() {
    let store = Machine::with(WEB).load();
    let refuse =
        |name: &str, value: Json| first_line(&store.add(name, &options(value)).unwrap_err());
    assert_eq!(
        refuse("web", json!({"cmd": "x"})),
        "Add: watcher.web: there is a watcher of this name"
    );
    assert_eq!(
        refuse("new", json!({})),
        "Add: watcher.new.cmd: required, and not set"
    );
    assert!(refuse("a/b", json!({"cmd": "x"})).starts_with("Add: watcher.a/b: a name begins"));
    assert_eq!(
        refuse("new", json!({"cmd": "x", "working_dir": "relative"})),
        "Add: watcher.new.working_dir: must be an absolute path here"
    );
    let added = store.add("new", &options(json!({"cmd": "x"}))).unwrap();
    let changes: Vec<_> = store.diff(&added).iter().map(|c| c.change).collect();
    assert_eq!(changes, [Change::Unchanged, Change::Add]);
    let removed = added.remove("new").unwrap().remove("web").unwrap();
    assert!(removed.config().watchers.is_empty());
    assert_eq!(added.diff(&removed)[0].change, Change::Remove);
    let errors = removed
        .set("web", &options(json!({"nice": 1})))
        .unwrap_err();
    assert_eq!(first_line(&errors), "watcher.web: no such watcher");
    // What the file says of the watcher that was removed is not part of the new one.
    let anew = removed
        .add("web", &options(json!({"cmd": "other"})))
        .unwrap();
    assert_eq!(get(&anew, "nice"), Json::Null);
}

#[test]
fn reading_again_keeps_what_came_over_the_socket() {
    let machine = Machine::with(WEB);
    let store = machine.load();
    let store = set(&store, json!({"numprocesses": 4}));
    let store = store.add("new", &options(json!({"cmd": "x"}))).unwrap();
    let unchanged = store.reread().unwrap();
    assert!(
        store
            .diff(&unchanged)
            .iter()
            .all(|c| c.change == Change::Unchanged)
    );

    machine.write(
        "etc/circusd/circusd.toml",
        &WEB.replace("nice = 1", "nice = 2\nautostart = false\nnumprocesses = 9"),
    );
    let reread = store.reread().unwrap();
    let changes = store.diff(&reread);
    assert_eq!(changes[0].change, Change::Reload);
    assert_eq!(changes[0].keys, ["nice", "autostart"]);
    assert_eq!(changes[1].change, Change::Unchanged);
    let setting = reread
        .settings(Some(&["watcher.web.numprocesses".into()]))
        .unwrap();
    assert_eq!(
        (setting[0].origin, &setting[0].value),
        (Origin::Api, &json!(4))
    );

    let back = reread.remove("web").unwrap().reread().unwrap();
    assert_eq!(get(&back, "numprocesses"), 9);
    machine.write("etc/circusd/circusd.toml", "");
    let gone = reread.reread().unwrap();
    let names: Vec<_> = gone.config().watchers.iter().map(|w| &w.name[..]).collect();
    assert_eq!(names, ["new"]);

    machine.write("etc/circusd/circusd.toml", "[watcher.web]\n");
    assert!(reread.reread().is_err());
}

#[test]
fn only_what_differs_is_a_change() {
    let load = |text: &str| Machine::with(text).load();
    let base = "[watcher.web]\ncmd = \"web -x\"\ngraceful_timeout = 30\n";
    let store = load(base);
    let same = load("[watcher.web]\ncmd = [\"web\", \"-x\"]\ngraceful_timeout = \"30s\"\n");
    // An array and a string differ for a shell; without one they are the same command.
    assert_eq!(store.diff(&same)[0].change, Change::Unchanged);
    let env = load(&format!("[env]\nA = \"1\"\n{base}"));
    let changes = store.diff(&env);
    assert_eq!(
        (changes[0].change, &changes[0].keys[..]),
        (Change::Reload, &["env".to_owned()][..])
    );
    let live = load(&base.replace("30", "31"));
    assert_eq!(store.diff(&live)[0].change, Change::Live);
    let daemon = load(&format!(
        "[circusd]\numask = \"0022\"\n[access]\nobserve = []\n{base}"
    ));
    let keys: Vec<_> = store
        .daemon_changes(&daemon)
        .iter()
        .map(|r| r.key)
        .collect();
    assert_eq!(keys, ["umask", "observe"]);
}

#[test]
fn an_env_file_is_read_again_only_when_the_files_are() {
    let machine = Machine::with("[watcher.web]\ncmd = \"web\"\nenv_file = \"web.env\"\n");
    machine.write("etc/circusd/web.env", "A=1\n");
    let store = machine.load();
    machine.write("etc/circusd/web.env", "A=2\n");
    let live = set(&store, json!({"graceful_timeout": 1}));
    assert_eq!(store.diff(&live)[0].change, Change::Live);
    let reread = live.reread().unwrap();
    assert_eq!(live.diff(&reread)[0].keys, ["env"]);
}

#[test]
fn settings_are_chosen_by_name_and_by_pattern() {
    let store = Machine::with(WEB).load();
    let names = |pattern: &str| -> Vec<String> {
        let settings = store.settings(Some(&[pattern.to_owned()])).unwrap();
        settings.into_iter().map(|setting| setting.name).collect()
    };
    assert_eq!(
        names("access.*"),
        ["access.observe", "access.operate", "access.admin"]
    );
    assert_eq!(
        names("watcher.web.env*"),
        [
            "watcher.web.env.A",
            "watcher.web.env.B",
            "watcher.web.env",
            "watcher.web.env_file"
        ]
    );
    assert!(names("nothing*").is_empty());
    let errors = store
        .settings(Some(&["circusd.loglevel".into()]))
        .unwrap_err();
    assert_eq!(
        errors.first().suggestion.as_deref(),
        Some("circusd.log_level")
    );
    assert!(
        store
            .get("wbe", None)
            .unwrap_err()
            .to_string()
            .contains("'web'")
    );
}
