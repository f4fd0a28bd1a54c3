//! A daemon that was killed, and the next one on its state: nobody notices but those who look.

mod common;

use std::sync::Arc;

use common::facts::{
    ended_by, has_cgroups, history, http_worker, pids, port_of, runs, told_until_now, topics,
    without_cgroups,
};
use common::load::Load;
use common::{Daemon, Home, copy_program, put_program, skip};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

const THREE: &str = "[watcher.web]\ncmd = ['sleep', '1000']\nnumprocesses = 3\n";

/// Runs `check` with what starts a daemon, with cgroups and without.
fn in_each_mode(check: impl Fn(&dyn Fn(&Arc<Home>) -> Daemon)) {
    let probe = Daemon::start("");
    let cgroups = has_cgroups(&probe);
    drop(probe);
    match cgroups {
        true => check(&|home| home.start()),
        false => skip("no cgroup can be made here"),
    }
    check(&without_cgroups);
}

fn end(pid: u64, signal: Signal) {
    let pid = i32::try_from(pid).expect("a pid fits");
    kill(Pid::from_raw(pid), signal).expect("it is ours, and runs");
}

/// Reads all events behind `cursor` up to now.
fn since(daemon: &Daemon, cursor: &Value) -> Vec<Value> {
    let mut events = daemon.subscribe_with(json!({"since": cursor}));
    told_until_now(daemon, &mut events)
}

fn cursor(daemon: &Daemon) -> Value {
    daemon.subscribe().opening["cursor"].clone()
}

#[test]
fn whoever_runs_goes_on_and_is_known() {
    in_each_mode(|start| {
        let home = Home::new(THREE);
        let mut first = start(&home);
        let before = first.wait_until("web", |web| web["state"] == "active");
        first.kill();
        let mut second = start(&home);
        let after = second.wait_until("web", |web| web["state"] == "active");
        assert_eq!(pids(&before), pids(&after));
        for process in after["processes"].as_array().expect("a list") {
            assert_eq!(process["adopted"], true, "{process}");
            assert_eq!(process["state"], "running", "{process}");
        }
        let started = |web: &Value| web["processes"][0]["started_usec"].as_u64();
        let apart = started(&before)
            .zip(started(&after))
            .map(|(a, b)| a.abs_diff(b));
        assert!(apart.is_some_and(|usec| usec < 10_000), "{apart:?}");
        assert!(second.stop().success());
        assert!(pids(&before).into_iter().all(|pid| !runs(pid)));
    });
}

#[test]
fn events_go_on_where_they_stopped() {
    let home = Home::new(THREE);
    let mut first = home.start();
    first.wait_until("web", |web| web["state"] == "active");
    let last = cursor(&first);
    let early = history(&first);
    first.kill();
    let second = home.start();
    let told = since(&second, &last);
    let adopted = topics(&told)
        .into_iter()
        .filter(|topic| *topic == "web.adopt");
    assert_eq!(adopted.count(), 3, "{told:#?}");
    let again = history(&second);
    assert_eq!(again[..early.len()], early[..], "as they were told");
    let numbers = again
        .iter()
        .map(|event| event["seq"].as_u64().expect("a number"));
    assert!(numbers.eq(1..=again.len() as u64), "without gaps");
}

#[test]
fn who_ended_meanwhile_is_told_of_and_replaced() {
    in_each_mode(|start| {
        let home = Home::new(THREE);
        let mut first = start(&home);
        let before = first.wait_until("web", |web| web["state"] == "active");
        let last = cursor(&first);
        let dead = *pids(&before).first().expect("there are three");
        first.kill();
        end(dead, Signal::SIGKILL);
        let second = start(&home);
        let after = second.wait_until("web", |web| {
            web["state"] == "active" && pids(web).len() == 3 && !pids(web).contains(&dead)
        });
        assert_eq!(after["restarts"], 1);
        let told = since(&second, &last);
        let reap = told.iter().find(|event| event["action"] == "reap");
        let reap = reap.unwrap_or_else(|| panic!("{told:#?}"));
        assert_eq!(reap["data"]["process_pid"], dead);
        assert_eq!(reap["data"]["exit"]["expected"], false);
    });
}

#[test]
fn how_an_adopted_process_ends_is_known() {
    let home = Home::new(
        "[watcher.web]\ncmd = ['sh', '-c', 'trap \"exit 7\" TERM; while :; do sleep 0.01; done']\n",
    );
    let mut first = home.start();
    let before = first.wait_until("web", |web| web["state"] == "active");
    let pid = *pids(&before).first().expect("there is one");
    first.kill();
    let second = home.start();
    let mut events = second.subscribe();
    end(pid, Signal::SIGTERM);
    let reap = events.wait("watcher.web.reap");
    ended_by(&reap["data"]["exit"], "exited", 7);
    let replaced = second.wait_until("web", |web| {
        web["state"] == "active" && !pids(web).contains(&pid)
    });
    assert_eq!(replaced["processes"][0]["adopted"], false);
}

#[test]
fn what_an_operator_wanted_is_still_wanted() {
    let config = format!(
        "{THREE}[watcher.idle]\ncmd = 'sleep 1000'\nautostart = false\n[watcher.gone]\ncmd = 'sleep 1000'\n"
    );
    let home = Home::new(&config);
    let mut first = home.start();
    let call = |method: &str, parameters: Value| {
        let answer = first.call(method, parameters);
        answer.unwrap_or_else(|error| panic!("{method}: {error:?}"));
    };
    call("Start", json!({"watchers": "idle"}));
    call("Stop", json!({"watchers": "web"}));
    call(
        "Set",
        json!({"watcher": "idle", "options": {"graceful_timeout": 3, "env.X": "1"}}),
    );
    call("Scale", json!({"watcher": "idle", "numprocesses": 2}));
    call(
        "Add",
        json!({"watcher": "new", "options": {"cmd": "sleep 1000"}, "start": true}),
    );
    call("Remove", json!({"watcher": "gone"}));
    let before: Vec<_> = ["idle", "new"]
        .map(|name| first.wait_until(name, |w| w["state"] == "active"))
        .into();
    first.kill();

    let second = home.start();
    assert_eq!(second.status("web")["state"], "stopped");
    for before in &before {
        let name = before["name"].as_str().expect("a name");
        let after = second.wait_until(name, |watcher| watcher["state"] == "active");
        assert_eq!(pids(before), pids(&after), "{name}");
    }
    let options = second
        .call("Get", json!({"watcher": "idle"}))
        .expect("everyone may look");
    assert_eq!(options["options"]["graceful_timeout"], 3);
    assert_eq!(options["options"]["numprocesses"], 2);
    let all = second.call("List", json!({})).expect("everyone may look");
    assert!(!all.to_string().contains("gone"), "{all}");
}

#[test]
fn what_was_asked_for_last_is_written_down_before_it_is_answered() {
    let home = Home::new(THREE);
    let mut daemon = home.start();
    let mut killed = Vec::new();
    daemon.wait_until("web", |web| web["state"] == "active");
    for (method, parameters, wanted) in [
        ("Scale", json!({"watcher": "web", "numprocesses": 4}), 4),
        (
            "Set",
            json!({"watcher": "web", "options": {"numprocesses": 2}}),
            2,
        ),
        (
            "Set",
            json!({"watcher": "web", "options": {"numprocesses": null}}),
            3,
        ),
        // Nothing changes by it but where the number comes from.
        (
            "Set",
            json!({"watcher": "web", "options": {"numprocesses": 3}}),
            3,
        ),
    ] {
        daemon.call(method, parameters).expect("it can be had");
        daemon.kill();
        killed.push(daemon);
        daemon = home.start();
        let options = daemon.call("Get", json!({"watcher": "web"}));
        let options = options.expect("everyone may look");
        assert_eq!(options["options"]["numprocesses"], wanted);
        assert_eq!(pids(&daemon.status("web")).len(), wanted);
    }
    home.configure("[watcher.web]\ncmd = ['sleep', '1000']\nnumprocesses = 5\n");
    daemon.call("ReloadConfig", json!({})).expect("it is right");
    assert_eq!(pids(&daemon.status("web")).len(), 3);
    drop(daemon);
}

#[test]
fn what_an_adopted_process_leaves_is_seen_to_end() {
    in_each_mode(|start| {
        let home = Home::new(
            "[watcher.web]\ngraceful_timeout = '1h'\n\
             cmd = ['sh', '-c', 'trap \"sleep 0.3 & exit 0\" TERM; while :; do sleep 0.01; done']\n",
        );
        let mut first = start(&home);
        let before = first.wait_until("web", |web| web["state"] == "active");
        first.kill();
        let second = start(&home);
        second
            .call("Restart", json!({"watchers": "web"}))
            .expect("it ends by itself");
        let after = second.status("web");
        assert_ne!(pids(&before), pids(&after));
    });
}

#[test]
fn what_the_files_say_by_now_is_put_in_force_as_by_a_reload() {
    let home = Home::new(&format!(
        "{THREE}[watcher.old]\ncmd = 'sleep 1000'\n[watcher.same]\ncmd = 'sleep 1000'\n"
    ));
    let mut first = home.start();
    for name in ["web", "old", "same"] {
        first.wait_until(name, |watcher| watcher["state"] == "active");
    }
    let (web, same) = (first.status("web"), first.status("same"));
    let old = first.status("old");
    first.kill();
    home.configure("[watcher.web]\ncmd = ['sleep', '2000']\nnumprocesses = 3\n[watcher.same]\ncmd = 'sleep 1000'\nnumprocesses = 2\n[watcher.new]\ncmd = 'sleep 1000'\n");
    let second = home.start();
    second.wait_until("new", |watcher| watcher["state"] == "active");
    let changed = second.wait_until("web", |watcher| {
        watcher["state"] == "active" && pids(watcher).is_disjoint(&pids(&web))
    });
    assert_eq!(pids(&changed).len(), 3);
    let kept = second.wait_until("same", |watcher| pids(watcher).len() == 2);
    assert!(pids(&kept).is_superset(&pids(&same)), "{kept}");
    common::eventually("the old watcher has gone", || {
        pids(&old).into_iter().all(|pid| !runs(pid)).then_some(())
    });
}

#[test]
fn a_stop_that_was_under_way_is_brought_to_its_end() {
    let home = Home::new(
        "[watcher.web]\ncmd = ['sh', '-c', 'trap \"\" TERM; while :; do sleep 0.01; done']\ngraceful_timeout = '500ms'\n",
    );
    let mut first = home.start();
    let before = first.wait_until("web", |web| web["state"] == "active");
    let mut events = first.subscribe();
    let mut connection = first.connect();
    connection.send_call("Stop", json!({"watchers": "web"}), false);
    events.wait("watcher.web.kill");
    first.kill();
    let second = home.start();
    let after = second.wait_until("web", |web| web["state"] == "stopped");
    assert!(pids(&before).into_iter().all(|pid| !runs(pid)));
    assert_eq!(after["reason"]["cause"], "operator");
}

#[test]
fn twenty_times_in_a_row() {
    let home = Home::new(THREE);
    let mut daemons = vec![home.start()];
    let before = daemons[0].wait_until("web", |web| web["state"] == "active");
    for _ in 0..20 {
        daemons.last_mut().expect("there is one").kill();
        daemons.push(home.start());
    }
    let last = daemons.pop().expect("there is one");
    let after = last.wait_until("web", |web| web["state"] == "active");
    assert_eq!(pids(&before), pids(&after));
    drop(last);
}

#[test]
fn a_clean_stop_leaves_nothing_to_go_on_with() {
    let home = Home::new(THREE);
    let mut first = home.start();
    first
        .call("Stop", json!({"watchers": "web"}))
        .expect("it stops");
    let before = cursor(&first);
    assert!(first.stop().success());
    let second = home.start();
    second.wait_until("web", |web| web["state"] == "active");
    let instance = |cursor: &Value| {
        cursor
            .as_str()
            .and_then(|c| c.split_once(':'))
            .map(|c| c.0.to_owned())
    };
    assert_ne!(instance(&before), instance(&cursor(&second)));
}

/// Where the daemon of this home keeps its state.
fn state(home: &Home) -> std::path::PathBuf {
    let mut directory = home.socket().into_os_string();
    directory.push(".state");
    std::path::PathBuf::from(directory).join("state")
}

#[test]
fn a_line_that_is_damaged_costs_only_itself() {
    let home = Home::new(THREE);
    let mut first = home.start();
    let before = first.wait_until("web", |web| web["state"] == "active");
    first.kill();
    let text = std::fs::read_to_string(state(&home)).expect("there is a state");
    let damaged = text.replacen("{\"wishes\":", "{\"wishes\":[[[", 1) + "{\"worker\":{\"id\":1,";
    std::fs::write(state(&home), damaged).expect("it can be damaged");
    let second = home.start();
    let after = second.wait_until("web", |web| web["state"] == "active");
    assert_eq!(pids(&before), pids(&after));
    let log = second.log();
    assert!(log.contains("1 lines of the state"), "{log}");
}

#[test]
fn without_a_state_who_lives_in_the_groups_is_taken_over() {
    for foreign in [
        "",
        "nonsense\n",
        "{\"head\":{\"format\":99,\"circusd\":\"9\",\"boot\":\"\",\"instance\":\"x\"}}\n",
    ] {
        let home = Home::new(THREE);
        let mut first = home.start();
        if !has_cgroups(&first) {
            return skip("no cgroup can be made here");
        }
        let before = first.wait_until("web", |web| web["state"] == "active");
        first.kill();
        std::fs::write(state(&home), foreign).expect("it can be replaced");
        let second = home.start();
        let after = second.wait_until("web", |web| web["state"] == "active");
        assert_eq!(pids(&before), pids(&after), "{}", second.log());
        let log = second.log();
        assert!(
            log.contains("cannot go on where an earlier circusd was"),
            "{log}"
        );
    }
}

#[test]
fn a_pid_that_is_anothers_by_now_is_nobody_to_us() {
    in_each_mode(|start| {
        let home = Home::new("[watcher.web]\ncmd = ['sleep', '1000']\n");
        let mut first = start(&home);
        let before = first.wait_until("web", |web| web["state"] == "active");
        let pid = *pids(&before).first().expect("there is one");
        first.kill();
        end(pid, Signal::SIGKILL);
        // The kernel tells the time of a start in hundredths of a second.
        std::thread::sleep(std::time::Duration::from_millis(50));
        // Somebody else has the number of the worker, as far as the state can tell.
        let stranger = std::process::Command::new("sleep").arg("1000").spawn();
        let mut stranger = stranger.expect("sleep is there");
        let text = std::fs::read_to_string(state(&home)).expect("there is a state");
        let text = text.replace(
            &format!("\"pid\":{pid},"),
            &format!("\"pid\":{},", stranger.id()),
        );
        std::fs::write(state(&home), text).expect("it can be changed");
        let mut second = start(&home);
        let after = second.wait_until("web", |web| {
            web["state"] == "active" && pids(web).len() == 1
        });
        assert!(!pids(&after).contains(&u64::from(stranger.id())));
        assert!(second.stop().success());
        assert!(
            stranger.try_wait().expect("it is ours").is_none(),
            "it was let alone"
        );
        stranger.kill().expect("it is ours");
        stranger.wait().expect("it is ours");
    });
}

/// A pool behind sockets that only its daemon and its processes have.
fn pool(socket: &str) -> String {
    format!(
        "[socket.http]\n{socket}\n[watcher.web]\ncmd = ['{}', '--listen-fds']\n\
         use_sockets = ['http']\nnumprocesses = 4\n",
        http_worker().display()
    )
}

#[test]
fn no_request_fails_while_the_daemon_is_killed_again_and_again() {
    if !nix::unistd::geteuid().is_root() {
        return skip("nobody else may take sockets out of a process");
    }
    let home = Home::new(&pool("host = '127.0.0.1'\nport = 0"));
    let mut daemons = vec![home.start()];
    let before = daemons[0].wait_until("web", |web| web["state"] == "active");
    let port = port_of(&daemons[0], "http");
    let load = Load::on(port);
    for _ in 0..10 {
        load.more(20);
        daemons.last_mut().expect("there is one").kill();
        load.more(20);
        daemons.push(home.start());
    }
    let last = daemons.pop().expect("there is one");
    assert_eq!(port_of(&last, "http"), port);
    let after = last.wait_until("web", |web| web["state"] == "active");
    assert_eq!(pids(&before), pids(&after));
    // The socket is as good as before: new processes serve it.
    last.call("Reload", json!({"watchers": "web"}))
        .expect("it reloads");
    load.more(20);
    let failed = load.failed();
    assert!(failed.is_empty(), "{failed:#?}");
    println!("{} requests answered, 0 failed", load.answered());
    drop(load);
    drop(last);
}

#[test]
fn the_file_of_a_socket_goes_with_the_last_daemon() {
    if !nix::unistd::geteuid().is_root() {
        return skip("nobody else may take sockets out of a process");
    }
    let home = Home::new("");
    let path = home.path("http.sock");
    home.configure(&pool(&format!("path = '{}'", path.display())));
    let mut first = home.start();
    first.wait_until("web", |web| web["state"] == "active");
    let inode =
        || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).expect("it is there"));
    let before = inode();
    first.kill();
    let mut second = home.start();
    assert_eq!(before, inode(), "it is the same socket");
    assert!(second.stop().success());
    assert!(!path.exists());
}

/// The program of a process, which another may have taken the place of.
fn runs_as(pid: u32) -> std::path::PathBuf {
    std::fs::read_link(format!("/proc/{pid}/exe")).expect("it runs, and is ours")
}

/// A daemon that was started from a copy of the program, which may be replaced.
fn start_copy(home: &Arc<Home>) -> (Daemon, std::path::PathBuf) {
    let copy = home.path("circusd");
    copy_program(env!("CARGO_BIN_EXE_circusd"), &copy);
    let daemon = home.start_with(|circusd| {
        let arguments: Vec<_> = circusd.get_args().map(ToOwned::to_owned).collect();
        let environment: Vec<_> = circusd
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        *circusd = std::process::Command::new(&copy);
        circusd.args(arguments).env_clear().envs(environment);
    });
    (daemon, copy)
}

#[test]
fn another_program_goes_on_in_the_same_process() {
    let home = Home::new(&pool("host = '127.0.0.1'\nport = 0"));
    let (mut daemon, copy) = start_copy(&home);
    let before = daemon.wait_until("web", |web| web["state"] == "active");
    let load = Load::on(port_of(&daemon, "http"));
    let last = cursor(&daemon);
    load.more(20);
    let program = std::fs::read(&copy).expect("it was copied");
    put_program(&program, &copy);
    assert!(
        runs_as(daemon.pid())
            .to_string_lossy()
            .ends_with("(deleted)")
    );

    let answer = daemon.call("Reexec", json!({}));
    assert_eq!(answer.expect("the same program can go on"), json!({}));
    let told = common::eventually("the new program answers", || {
        let exe = runs_as(daemon.pid());
        (exe == copy).then(|| since(&daemon, &last))
    });
    let adopted = topics(&told)
        .into_iter()
        .filter(|topic| *topic == "web.adopt");
    assert_eq!(adopted.count(), 4, "{told:#?}");
    load.more(20);
    let after = daemon.status("web");
    assert_eq!(pids(&before), pids(&after));
    assert!(load.failed().is_empty(), "{:#?}", load.failed());
    drop(load);
    // They are still our children: their ends are known on any kernel.
    let mut events = daemon.subscribe();
    end(
        *pids(&before).first().expect("there are four"),
        Signal::SIGKILL,
    );
    let reap = events.wait("watcher.web.reap");
    assert_eq!(reap["data"]["exit"]["cause"], "signaled", "{reap}");
    assert!(daemon.stop().success());
}

#[test]
fn a_program_that_cannot_go_on_does_not() {
    let home = Home::new(THREE);
    let (daemon, copy) = start_copy(&home);
    let before = daemon.wait_until("web", |web| web["state"] == "active");
    let refused = |why: &str| {
        let error = daemon
            .call("Reexec", json!({}))
            .expect_err("it cannot go on");
        assert_eq!(error.error, "io.circusd.ReexecFailed");
        let reason = error.parameters["reason"].as_str().expect("a sentence");
        assert!(reason.contains(why), "{reason}");
    };
    let good = std::fs::read(&copy).expect("it was copied");
    put_program(b"no program at all", &copy);
    refused("circusd");
    put_program(b"#!/bin/sh\necho 'not today' >&2\nexit 1\n", &copy);
    refused("not today");
    std::fs::remove_file(&copy).expect("it is ours");
    refused("circusd");
    put_program(&good, &copy);
    home.configure("[watcher.web]\ncmd = 7\n");
    refused("cmd");
    let after = daemon.status("web");
    assert_eq!(pids(&before), pids(&after));
    let ctl = daemon.ctl(&["reexec"]);
    assert_eq!(ctl.status.code(), Some(3), "{ctl:?}");
}

#[test]
fn a_signal_replaces_the_program_too() {
    let home = Home::new(THREE);
    let (daemon, copy) = start_copy(&home);
    let before = daemon.wait_until("web", |web| web["state"] == "active");
    let program = std::fs::read(&copy).expect("it was copied");
    put_program(&program, &copy);
    daemon.signal(Signal::SIGUSR2);
    common::eventually("the new program runs", || {
        (runs_as(daemon.pid()) == copy).then_some(())
    });
    let after = daemon.wait_until("web", |web| web["processes"][0]["adopted"] == true);
    assert_eq!(pids(&before), pids(&after));
}
