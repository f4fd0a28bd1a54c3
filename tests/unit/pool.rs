//! A pool that serves and writes under the packaged unit, and what must hold whatever happens to
//! circusd meanwhile.
//!
//! What happens is the tests' business. Output goes to the journal here, which workers reach without
//! us.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::common::facts::{ended_by, http_worker, pid_of, pids};
use crate::common::load::Load;
use crate::common::{Container, copy_program, eventually};
use crate::{SOCKET, UNIT, cursor, next_daemon, since, status};

/// Four that serve behind one socket, and two that count aloud and note how far they are.
const CONFIG: &str = r#"
    [socket.http]
    host = "127.0.0.1"
    port = 8080

    [watcher.web]
    cmd = ["http_worker", "--listen-fds"]
    use_sockets = ["http"]
    numprocesses = 4

    [watcher.scribe]
    cmd = ["sh", "-c", """
        n=0
        while n=$((n + 1)); do echo $$ $n; echo $n >/run/scribe.$$; sleep 0.02; done"""]
    numprocesses = 2
    stdout = "journal"
"#;

const PORT: u16 = 8080;

/// Where the packaged unit looks for it.
pub(crate) const PROGRAM: &str = "/usr/bin/circusd";

/// The pool, and how it was when all was well.
pub(crate) struct Pool {
    pub(crate) container: Container,
    pub(crate) load: Load,
    web: BTreeSet<u64>,
    scribes: BTreeSet<u64>,
    begin: Value,
}

impl Pool {
    /// Starts all of it, with a drop-in for the unit; or tells that the test is skipped.
    pub(crate) fn start(drop_in: &str) -> Option<Self> {
        let bind = |from: &Path, to: &str| format!("--bind-ro={}:{to}", from.display());
        let ctl = Path::new(env!("CARGO_BIN_EXE_circusctl"));
        let container = Container::boot_with(&[
            bind(ctl, "/usr/bin/circusctl"),
            bind(&http_worker(), "/usr/local/bin/http_worker"),
        ])?;
        // A copy, which may be replaced.
        copy_program(env!("CARGO_BIN_EXE_circusd"), &container.path(PROGRAM));
        container.write("/etc/circusd/circusd.toml", CONFIG);
        for unit in ["circusd.service", "circusd.socket"] {
            let packaged = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
            let text = fs::read_to_string(packaged.join(unit)).expect("it is there");
            container.write(&format!("/etc/systemd/system/{unit}"), &text);
        }
        let drop_in = format!("[Service]\n{drop_in}\n");
        container.write("/etc/systemd/system/circusd.service.d/test.conf", &drop_in);
        container.succeed(&["groupadd", "--system", "circus"]);
        container.succeed(&["systemctl", "daemon-reload"]);
        container.succeed(&["systemctl", "start", UNIT]);
        let (web, scribes) = eventually("the pool is up", || {
            let (web, scribes) = (status(&container, "web")?, status(&container, "scribe")?);
            let up = web["state"] == "active" && scribes["state"] == "active";
            up.then(|| (pids(&web), pids(&scribes)))
        });
        let load = Load::in_network(&container.network(), PORT);
        load.more(50);
        Some(Self {
            begin: cursor(&container),
            container,
            load,
            web,
            scribes,
        })
    }

    /// The pid of the daemon.
    pub(crate) fn daemon(&self) -> String {
        self.container.property(UNIT, "MainPID")
    }

    /// Has the daemon end by `how`; returns when requests were served without it and the next one
    /// answers.
    pub(crate) fn replace_daemon(&self, how: impl FnOnce(&Self)) {
        let daemon = self.daemon();
        how(self);
        self.load.more(10);
        next_daemon(&self.container, &daemon);
        self.load.more(10);
    }

    /// Nobody but who looks has noticed anything: the same workers, no request lost, no line, no
    /// event; and what happens to a worker from now on is known.
    pub(crate) fn has_noticed_nothing(self) {
        self.nobody_was_replaced();
        self.no_request_was_lost();
        self.no_event_was_lost();
        self.an_end_is_told_with_its_cause();
        self.no_line_was_lost();
    }

    fn nobody_was_replaced(&self) {
        for (watcher, before) in [("web", &self.web), ("scribe", &self.scribes)] {
            let status = status(&self.container, watcher).expect("it answers");
            assert_eq!(&pids(&status), before, "{status}");
            assert_eq!(status["restarts"], 0, "{status}");
            assert_eq!(status["state"], "active", "{status}");
        }
    }

    fn no_request_was_lost(&self) {
        self.load.more(100);
        let failed = self.load.failed();
        assert!(failed.is_empty(), "{failed:#?}");
    }

    /// Every number from the beginning to now was told to who comes back with his cursor.
    fn no_event_was_lost(&self) {
        let (instance, first) = parts(&self.begin);
        let (same, last) = parts(&cursor(&self.container));
        assert_eq!(instance, same, "the log is the same one");
        let mut events = since(&self.container, &self.begin);
        for number in first + 1..=last {
            let event = events.next();
            assert_eq!(event["seq"], number, "{event}");
        }
    }

    fn an_end_is_told_with_its_cause(&self) {
        let scribe = *self.scribes.first().expect("there are two");
        let now = cursor(&self.container);
        self.container
            .succeed(&["sh", "-c", &format!("kill -KILL {scribe}")]);
        let mut events = since(&self.container, &now);
        let reap = events.wait("watcher.scribe.reap");
        assert_eq!(pid_of(&reap), scribe, "{reap}");
        ended_by(&reap["data"]["exit"], "signaled", 9);
        let spawn = events.wait("watcher.scribe.spawn");
        assert!(!self.scribes.contains(&pid_of(&spawn)), "{spawn}");
    }

    /// Of each that has counted, all numbers are in the journal, in their order.
    fn no_line_was_lost(&self) {
        for scribe in &self.scribes {
            let noted = self.container.path(&format!("/run/scribe.{scribe}"));
            // One that lives may just be writing it.
            let noted: u64 = eventually("how far it is", || {
                fs::read_to_string(&noted).ok()?.trim().parse().ok()
            });
            let numbers = eventually(&format!("line {noted} of {scribe}"), || {
                let mut told = self.lines();
                let numbers = told.remove(scribe)?;
                numbers.contains(&noted).then_some(numbers)
            });
            assert!(
                numbers.iter().copied().eq(1..=numbers.len() as u64),
                "{scribe}: {numbers:?}"
            );
        }
    }

    /// The numbers in the journal, by who has written them.
    fn lines(&self) -> BTreeMap<u64, Vec<u64>> {
        let mut lines = BTreeMap::<u64, Vec<u64>>::new();
        for record in self.container.journal(&["SYSLOG_IDENTIFIER=scribe"]) {
            assert_eq!(record["_SYSTEMD_UNIT"], UNIT, "{record}");
            let line = record["MESSAGE"].as_str().expect("it is text");
            let (scribe, number) = line.split_once(' ').expect("two numbers");
            let number = number.parse().expect("a number");
            let scribe = scribe.parse().expect("a pid");
            lines.entry(scribe).or_default().push(number);
        }
        lines
    }
}

/// Of a cursor: the log it is of, and the number of the last event before it.
fn parts(cursor: &Value) -> (String, u64) {
    let text = cursor.as_str().expect("a cursor is text");
    let (instance, number) = text.rsplit_once(':').expect("INSTANCE:SEQ");
    (instance.to_owned(), number.parse().expect("a number"))
}

/// Whether the daemon runs the program that is there by now.
pub(crate) fn runs_what_is_there(pool: &Pool) -> bool {
    let daemon = pool.daemon();
    let exe = pool
        .container
        .succeed(&["readlink", &format!("/proc/{daemon}/exe")]);
    exe.trim() == PROGRAM && answers(&pool.container)
}

fn answers(container: &Container) -> bool {
    std::os::unix::net::UnixStream::connect(container.path(SOCKET)).is_ok()
}
