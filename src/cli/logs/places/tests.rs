//! What circusd tells of a watcher, and what is made of it.

use serde_json::json;

use super::*;
use crate::cli::exit::Exit;

/// The daemon of a service; of nobody's if `uid` is not root's.
fn daemon(uid: u32, unit: Option<&str>, journal: bool) -> SupervisorStats {
    let mut stats = json!({
        "pid": 1, "version": "1", "started_usec": 0, "cpu_usec": 0, "memory_rss": 0,
        "memory_pss": 0, "fds": 0, "watchers": 1, "processes": 2, "connections": 1,
        "subscribers": 0, "events_total": 0, "spawns_total": 0, "requests_total": 0,
        "uid": uid, "journal": journal,
    });
    if let Some(unit) = unit {
        stats["unit"] = unit.into();
    }
    serde_json::from_value(stats).unwrap()
}

/// Three processes, of which the second runs; and one too many.
fn watcher() -> Watcher {
    let process = |wid: u32, pid: u32, cgroup: Option<&str>| {
        let mut process = json!({
            "wid": wid, "pid": pid, "state": "running", "started_usec": 0, "generation": 1,
            "adopted": false,
        });
        if let Some(cgroup) = cgroup {
            process["cgroup"] = cgroup.into();
        }
        process
    };
    let group = "/sys/fs/cgroup/system.slice/circusd.service/watchers/web/2";
    let watcher = json!({
        "name": "web", "state": "active", "numprocesses": 3, "priority": 0, "singleton": false,
        "frozen": false, "restarts": 0,
        "processes": [process(2, 22, Some(group)), process(5, 55, None)],
    });
    serde_json::from_value(watcher).unwrap()
}

fn add(options: Value, wid: Option<i64>, daemon: &SupervisorStats) -> Result<Places, Failure> {
    let mut places = Places::default();
    let options = options.as_object().unwrap();
    places.add(&watcher(), options, daemon, wid)?;
    Ok(places)
}

fn of(options: Value) -> Places {
    add(options, None, &daemon(0, Some("circusd.service"), true)).unwrap()
}

fn files(places: &Places) -> Vec<&str> {
    let paths = places.files.iter().map(|file| file.path.to_str().unwrap());
    paths.collect()
}

const OF_WEB: [&str; 3] = [
    "SYSLOG_IDENTIFIER=web",
    "_TRANSPORT=stdout",
    "_SYSTEMD_UNIT=circusd.service",
];

#[test]
fn output_in_the_journal_is_found_by_its_name_and_whose_it_is() {
    for options in [
        json!({"stdout": "journal", "stderr": "journal"}),
        json!({"stdout": "journal", "stderr": "stdout"}),
        json!({"stdout": "journal", "stderr": "null"}),
        json!({"stdout": null}),
        json!({}),
    ] {
        let places = of(options.clone());
        assert_eq!(places.journal, [OF_WEB], "{options}");
        assert_eq!(places.elsewhere, [""; 0], "{options}");
    }
    let journal = json!({"stdout": "journal"});
    let of_user = add(journal.clone(), None, &daemon(1000, None, true)).unwrap();
    assert_eq!(
        of_user.journal,
        [["SYSLOG_IDENTIFIER=web", "_TRANSPORT=stdout", "_UID=1000"]]
    );
    let by_hand = add(journal, None, &daemon(0, None, true)).unwrap();
    assert_eq!(by_hand.journal, [OF_WEB[..2].to_vec()]);
}

#[test]
fn one_process_is_found_by_its_pid_and_by_its_cgroup() {
    let service = daemon(0, Some("circusd.service"), true);
    let of = |wid| add(json!({}), Some(wid), &service);
    let with = |one: &'static str| [&OF_WEB[..], &[one]].concat();
    let group = "_SYSTEMD_CGROUP=/system.slice/circusd.service/watchers/web/2";
    assert_eq!(of(2).unwrap().journal, [with("_PID=22"), with(group)]);
    assert_eq!(of(5).unwrap().journal, [with("_PID=55")]);
    let failure = of(1).unwrap_err();
    assert_eq!(failure.exit(), Exit::Refused);
    assert!(failure.sentence().contains("web"), "{failure}");
}

#[test]
fn a_file_for_each_process_is_that_of_each() {
    let one = json!({"stdout": {"file": "/log/web"}, "stderr": {"file": "/log/web.err"}});
    assert_eq!(files(&of(one)), ["/log/web", "/log/web.err"]);
    let same =
        json!({"stdout": {"file": "/log/web"}, "stderr": {"file": "/log/web", "prefix": "E "}});
    assert_eq!(files(&of(same)), ["/log/web"]);
    let each = json!({"stdout": {"file": "/log/web.$(circus.wid)"}, "stderr": "stdout"});
    assert_eq!(
        files(&of(each.clone())),
        ["/log/web.1", "/log/web.2", "/log/web.3", "/log/web.5"]
    );
    let service = daemon(0, None, false);
    let second = add(each, Some(2), &service).unwrap();
    assert_eq!(files(&second), ["/log/web.2"]);
    let shared =
        json!({"stdout": {"file": "/log/web.$(circus.wid)"}, "stderr": {"file": "/log/err"}});
    let second = add(shared, Some(2), &service).unwrap();
    assert_eq!(files(&second), ["/log/web.2"]);
    let told = "web: its standard error goes to '/log/err' with that of the others";
    assert!(second.elsewhere[0].starts_with(told), "{second:?}");
}

#[test]
fn what_cannot_be_shown_is_told_of() {
    let check = |options: Value, journal: bool, told: &[&str]| {
        let service = daemon(0, Some("circusd.service"), journal);
        let places = add(options.clone(), None, &service).unwrap();
        let elsewhere = &places.elsewhere;
        assert_eq!(elsewhere.len(), told.len(), "{options}: {elsewhere:?}");
        for (sentence, part) in elsewhere.iter().zip(told) {
            assert!(sentence.starts_with("web: its "), "{sentence}");
            assert!(sentence.contains(part), "{options}: {sentence}");
        }
    };
    let null = json!({"stdout": "null", "stderr": "null"});
    check(null, true, &["output is thrown away"]);
    let logger = json!({"stdout": {"command": ["cronolog", "/log/web"]}, "stderr": "null"});
    check(
        logger,
        true,
        &["standard output is read by a program", "standard error is"],
    );
    let written = json!({"stdout": {"command": "cronolog /log"}, "stderr": "stdout"});
    check(written, true, &["output is read by a program"]);
    let half = json!({"stderr": {"command": ["cronolog", "/log/web"]}});
    check(half, true, &["becomes of it: cronolog /log/web"]);
    check(json!({}), false, &["the terminal or file"]);
    let inherit = json!({"stdout": "inherit", "stderr": "journal"});
    check(inherit, true, &["journalctl --unit=circusd.service"]);
    let new = json!({"stdout": {"socket": "x"}, "stderr": "stdout"});
    check(new, true, &["{\"socket\":\"x\"}"]);
    let odd = json!({"stdout": {"file": "/log/$(circus.sockets.web)"}, "stderr": "stdout"});
    check(odd, true, &["in the files '/log/$(circus.sockets.web)'"]);
}
