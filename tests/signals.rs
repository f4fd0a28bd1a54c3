//! Who gets a signal that an operator sends.

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use common::facts::{in_each_mode, line_of, number_of, pid_of, pids};
use common::{CallError, Connection, Daemon, eventually};
use serde_json::{Value, json};

/// A worker with a child; each notes every SIGUSR1 in a file of its own.
const FAMILY: &str = r#"
[watcher.web]
cmd = ["sh", "worker.sh"]
working_dir = ".."
graceful_timeout = 0
autostart = false
"#;

const WORKER: &str = r#"
note() { trap "echo told >> $HOME/$1.told" USR1; echo $$ > $HOME/$1; while :; do sleep 0.05; done; }
case $1 in
child) note child.$CIRCUS_WID ;;
*) sh worker.sh child & note main.$CIRCUS_WID ;;
esac
"#;

/// Starts the family; the pids of the worker and of its child.
fn start(daemon: &Daemon) -> (u64, u64) {
    let home = daemon.home();
    std::fs::write(home.path("worker.sh"), WORKER).expect("a script can be written");
    daemon
        .call("Start", json!({"watchers": "web"}))
        .expect("it starts");
    let child = number_of(&home.path("child.1"));
    (number_of(&home.path("main.1")), child)
}

fn reached(reply: &Value) -> BTreeSet<u64> {
    let pids = reply["pids"].as_array().expect("a list of pids");
    pids.iter().filter_map(Value::as_u64).collect()
}

fn told(path: &Path) -> bool {
    path.exists()
}

/// Signals with these further words, and says whom the daemon says to have reached.
fn signal(daemon: &Daemon, words: &[&str]) -> BTreeSet<u64> {
    let output = daemon.ctl(&[&["--json", "signal", "web", "usr1"], words].concat());
    assert!(output.status.success(), "{output:?}");
    reached(&serde_json::from_slice(&output.stdout).expect("a document"))
}

#[test]
fn the_process_alone_its_children_alone_or_all() {
    in_each_mode(FAMILY, |daemon| {
        let (main, child) = start(daemon);
        let home = daemon.home();
        let (of_main, of_child) = (home.path("main.1.told"), home.path("child.1.told"));
        let forget = || {
            // Not there is as good as gone.
            let _ = (
                std::fs::remove_file(&of_main),
                std::fs::remove_file(&of_child),
            );
        };
        let mut events = daemon.subscribe();

        assert_eq!(signal(daemon, &[]), [main].into());
        line_of(&of_main);
        assert!(!told(&of_child));
        let kill = events.wait("watcher.web.kill");
        assert_eq!(
            (pid_of(&kill), &kill["data"]["by"]),
            (main, &json!("operator"))
        );
        forget();

        let reached = signal(daemon, &["--children"]);
        assert!(
            reached.contains(&child) && !reached.contains(&main),
            "{reached:?}"
        );
        line_of(&of_child);
        assert!(!told(&of_main));
        forget();

        let reached = signal(daemon, &["--recursive"]);
        assert!(
            reached.contains(&child) && reached.contains(&main),
            "{reached:?}"
        );
        line_of(&of_child);
        line_of(&of_main);
    });
}

/// Sends SIGUSR1 to one child.
fn signal_child(daemon: &Daemon, mut params: Value) -> Result<BTreeSet<u64>, CallError> {
    params["signal"] = json!("USR1");
    daemon.call("Signal", params).map(|reply| reached(&reply))
}

#[test]
fn one_child_alone() {
    in_each_mode(FAMILY, |daemon| {
        let (main, child) = start(daemon);
        let home = daemon.home();
        let mut events = daemon.subscribe();

        let (pid, of_child) = (main.to_string(), child.to_string());
        let words = ["--pid", &pid, "--child", &of_child];
        assert_eq!(signal(daemon, &words), [child].into());
        line_of(&home.path("child.1.told"));
        assert!(!told(&home.path("main.1.told")));
        let kill = events.wait("watcher.web.kill");
        assert_eq!(pid_of(&kill), main);
        assert_eq!(kill["data"]["child_pid"], child);

        let by_wid = json!({"watcher": "web", "wid": 1, "child": child});
        assert_eq!(
            signal_child(daemon, by_wid).expect("it runs"),
            [child].into()
        );
        assert_eq!(pids(&daemon.status("web")), [main].into());
    });
}

#[test]
fn who_is_no_child_of_that_process_is_an_error_and_gets_nothing() {
    let config = format!(
        "{FAMILY}[watcher.other]\ncmd = \"sh -c 'sleep 1000 & wait'\"\ngraceful_timeout = 0\n"
    );
    in_each_mode(&config, |daemon| {
        let (main, child) = start(daemon);
        let other = *pids(&daemon.status("other")).first().expect("it runs");
        let others = eventually("the other has a child", || child_of(other));
        let itself = u64::from(daemon.pid());
        for stranger in [main, other, others, itself, 0, 1, u64::from(u32::MAX)] {
            let params = json!({"watcher": "web", "pid": main, "child": stranger});
            let refused = signal_child(daemon, params).expect_err("it is nobody's child");
            assert_eq!(refused.error, "io.circusd.NoSuchChild", "{stranger}");
            let named = json!({"watcher": "web", "pid": main, "child": stranger});
            assert_eq!(refused.parameters, named);
        }
        // SIGUSR1 would have ended them.
        assert!([other, others].into_iter().all(common::facts::runs));

        let of_nobody = json!({"watcher": "web", "pid": other, "child": child});
        let refused = signal_child(daemon, of_nobody).expect_err("it is not the watcher's");
        assert_eq!(refused.error, "io.circusd.NoSuchProcess");
        for (wrong, parameter) in [
            (json!({"watcher": "web", "child": child}), "child"),
            (
                json!({"watcher": "web", "wid": 1, "child": child, "recipients": "all"}),
                "recipients",
            ),
        ] {
            let refused = signal_child(daemon, wrong).expect_err("that makes no sense");
            assert_eq!(refused.error, "org.varlink.service.InvalidParameter");
            assert_eq!(refused.parameters["parameter"], parameter);
        }

        let output = daemon.ctl(&["signal", "web", "usr1", "--wid=1", "--child=1"]);
        assert_eq!(output.status.code(), Some(3), "{output:?}");
    });
}

#[test]
fn a_child_that_has_ended_is_none_even_where_nobody_has_waited_for_it() {
    let config = "[watcher.web]\ncmd = \"sh -c 'sleep 1000 & exec sleep 1000'\"\n";
    in_each_mode(config, |daemon| {
        let main = *pids(&daemon.status("web")).first().expect("it runs");
        // By then it is no shell any more, which might wait for its child.
        let comm = format!("/proc/{main}/comm");
        common::facts::wait_for_text(Path::new(&comm), "sleep");
        let child = child_of(main).expect("it has a child");
        let mut params = json!({"watcher": "web", "wid": 1, "child": child, "signal": "KILL"});
        daemon.call("Signal", params.clone()).expect("it runs");
        eventually("it has ended", || {
            (!common::facts::runs(child)).then_some(())
        });
        assert_eq!(child_of(main), Some(child), "it was waited for");
        params["signal"] = json!("CONT");
        let refused = daemon.call("Signal", params).expect_err("it is dead");
        assert_eq!(refused.error, "io.circusd.NoSuchChild");
        let stats = json!({"watchers": "web", "descendants": true});
        let sample = daemon.call("Stats", stats).expect("everybody may look");
        assert_eq!(sample["processes"][0]["descendants"], json!([]));
    });
}

/// A child of a process.
fn child_of(pid: u64) -> Option<u64> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    children.ok()?.split_whitespace().next()?.parse().ok()
}

#[test]
fn what_runs_below_a_process_is_told_if_somebody_asks() {
    in_each_mode(FAMILY, |daemon| {
        let (main, child) = start(daemon);
        let stats = |params: Value| {
            let reply = daemon.call("Stats", params).expect("everybody may look");
            reply["processes"][0].clone()
        };
        assert!(stats(json!({})).get("descendants").is_none());
        let sample = stats(json!({"watchers": "web", "descendants": true}));
        let below = sample["descendants"].as_array().expect("a list");
        let found = below.iter().find(|of| of["pid"] == child);
        let found = found.unwrap_or_else(|| panic!("no {child}: {sample}"));
        assert_eq!(found["ppid"], main, "{sample}");
        assert!(found["memory_rss"].as_u64() > Some(0), "{sample}");
        assert!(below.iter().all(|of| of["pid"] != main), "{sample}");

        let table = daemon.ctl(&["stats", "web", "--children"]);
        let table = String::from_utf8(table.stdout).expect("text");
        let row = table.lines().find(|line| line.contains("child"));
        assert!(row.is_some_and(|row| row.starts_with("web")), "{table}");
    });
}

#[test]
fn one_of_several_by_wid_or_pid_and_all_without() {
    let config = "[watcher.web]\ncmd = 'sleep 1000'\nnumprocesses = 3";
    let daemon = Daemon::start(config);
    let all = pids(&daemon.status("web"));
    let mut client = daemon.connect();
    // SIGCONT does nothing to what runs.
    let send = |client: &mut Connection, mut who: Value| {
        who["watcher"] = json!("web");
        who["signal"] = json!("CONT");
        client.call("Signal", who)
    };
    assert_eq!(
        reached(&send(&mut client, json!({})).expect("it runs")),
        all
    );
    let one = reached(&send(&mut client, json!({"wid": 2})).expect("it runs"));
    assert_eq!(one.len(), 1);
    let pid = one.first().expect("one");
    assert_eq!(
        reached(&send(&mut client, json!({"pid": pid})).expect("it runs")),
        one
    );
}

#[test]
fn a_process_that_is_not_the_watchers_is_an_error_and_gets_nothing() {
    let config = "[watcher.web]\ncmd = 'sleep 1000'\n[watcher.other]\ncmd = 'sleep 1000'";
    let daemon = Daemon::start(config);
    let others = pids(&daemon.status("other"));
    let others = others.first().expect("a process");
    let itself = u64::from(daemon.pid());
    for (method, extra) in [("Signal", json!({"signal": "KILL"})), ("Kill", json!({}))] {
        for who in [
            json!({"pid": others}),
            json!({"pid": itself}),
            json!({"pid": 1}),
            json!({"wid": 7}),
        ] {
            let mut params = extra.clone();
            params["watcher"] = json!("web");
            for (key, value) in who.as_object().expect("an object") {
                params[key] = value.clone();
            }
            let refused = daemon.call(method, params).expect_err("nobody is meant");
            assert_eq!(refused.error, "io.circusd.NoSuchProcess", "{who}");
            for (key, value) in who.as_object().expect("an object") {
                assert_eq!(&refused.parameters[key], value, "{refused:?}");
            }
        }
    }
    let output = daemon.ctl(&["signal", "web", "usr1", "--pid", "1"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(common::facts::runs(*others));
}

#[test]
fn a_signal_is_named_in_any_usual_way_and_an_unknown_one_is_wrong() {
    let daemon = Daemon::start("[watcher.web]\ncmd = 'sleep 1000'");
    for name in ["SIGCONT", "CONT", "cont", "sigcont", "18"] {
        daemon
            .call("Signal", json!({"watcher": "web", "signal": name}))
            .unwrap_or_else(|error| panic!("{name}: {error:?}"));
    }
    for name in ["", "SIGFROB", "0", "-1", "4096"] {
        let refused = daemon
            .call("Signal", json!({"watcher": "web", "signal": name}))
            .expect_err("no signal");
        assert_eq!(
            refused.error, "org.varlink.service.InvalidParameter",
            "{name}"
        );
    }
    let longer_than_a_day = json!({"watcher": "web", "graceful_timeout_usec": 86_400_000_001_u64});
    let refused = daemon
        .call("Kill", longer_than_a_day)
        .expect_err("too long");
    assert_eq!(refused.parameters["parameter"], "graceful_timeout_usec");
    let refused = daemon.call("Signal", json!({"watcher": "nobody", "signal": "CONT"}));
    assert_eq!(
        refused.expect_err("no watcher").error,
        "io.circusd.NoSuchWatcher"
    );
}

#[test]
fn a_frozen_watcher_stands_still_until_it_is_thawed() {
    let config = r#"
        [watcher.web]
        cmd = ["sh", "-c", "while :; do echo >> $HOME/beats; sleep 0.02; done"]
        graceful_timeout = "1s""#;
    let daemon = Daemon::start(config);
    if !common::facts::has_cgroups(&daemon) {
        return common::skip("no cgroup can be made here");
    }
    let beats = daemon.home().path("beats");
    let count = || std::fs::metadata(&beats).map_or(0, |file| file.len());
    line_of(&beats);
    let mut events = daemon.subscribe();
    daemon
        .call("Freeze", json!({"watchers": "web"}))
        .expect("it can be frozen");
    events.wait("watcher.web.freeze");
    assert_eq!(daemon.status("web")["frozen"], true);
    let frozen = eventually("the kernel has stopped it", || {
        let cgroup = daemon.status("web")["processes"][0]["cgroup"].clone();
        let file = Path::new(cgroup.as_str()?).join("cgroup.events");
        std::fs::read_to_string(file)
            .ok()?
            .contains("frozen 1")
            .then(count)
    });
    assert_eq!(count(), frozen);
    daemon
        .call("Thaw", json!({"watchers": "web"}))
        .expect("it can be thawed");
    events.wait("watcher.web.thaw");
    eventually("it goes on", || (count() > frozen).then_some(()));
    // A frozen one can be stopped all the same.
    daemon
        .call("Freeze", json!({"watchers": "web"}))
        .expect("it can be frozen");
    assert!(daemon.ctl(&["stop", "web"]).status.success());
    assert_eq!(daemon.status("web")["frozen"], false);
}
