//! What workers write over the end of a daemon: killed, or replaced by another program, it costs no line.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::counter::{BATCH_BYTES, COUNTER, counted};
use common::facts::{
    has_cgroups, number_of, pids, runs, text_of, wait_for_text, why, without_cgroups,
};
use common::{Daemon, Home, eventually, skip};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

/// Does what it is told to say, and says farewell.
const TELLER: &str = r#"
#!/bin/sh
trap 'echo "$$ farewell"; exit 0' TERM
echo "$$ up"
n=0
while :; do
    if [ -e "$HOME/say.$n" ]; then echo "$$ $(cat "$HOME/say.$n")"; n=$((n+1)); fi
    sleep 0.02
done
"#;

/// Reads line by line, so that it has one in hand at most; complains of each, and says who it is.
const LOGGER: &str = r#"
#!/bin/sh
echo $$ > "$HOME/logger.pid"
while IFS= read -r line; do echo "$line"; echo "complaint" >&2; done >> "$HOME/web.log"
"#;

/// Takes what it gets as fast as it comes.
const CAT: &str = "#!/bin/sh\necho $$ > \"$HOME/logger.pid\"\nexec cat >> \"$HOME/web.log\"\n";

const TO_FILE: &str = "{file = '../web.log'}";
const TO_LOGGER: &str = "{command = 'sh logger.sh'}";

/// Two of these workers; one where they would have one pipe and write lines in pieces.
fn home(worker: &str, logger: &str, stdout: &str) -> Arc<Home> {
    let numprocesses = match (worker, stdout) {
        (COUNTER, TO_LOGGER) => 1,
        _ => 2,
    };
    let home = Home::new(&format!(
        "[watcher.web]\ncmd = ['sh', 'worker.sh']\nworking_dir = '..'\n\
         numprocesses = {numprocesses}\nstdout = {stdout}\nstderr = 'null'\n\
         graceful_timeout = '5s'\n"
    ));
    fs::write(home.path("worker.sh"), worker.trim_start()).expect("it can be written");
    fs::write(home.path("logger.sh"), logger.trim_start()).expect("it can be written");
    home
}

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

/// Daemons of one home, one after the other; those before the last were killed.
struct Daemons<'a> {
    start: &'a dyn Fn(&Arc<Home>) -> Daemon,
    // The last one is to be dropped first: each ends what it finds of the home.
    last: Daemon,
    killed: Vec<Daemon>,
}

impl<'a> Daemons<'a> {
    fn start(home: &Arc<Home>, start: &'a dyn Fn(&Arc<Home>) -> Daemon) -> Self {
        let last = start(home);
        last.wait_until("web", |web| web["state"] == "active");
        let killed = Vec::new();
        Daemons {
            start,
            last,
            killed,
        }
    }

    fn kill(&mut self) {
        self.last.kill();
    }

    fn next(&mut self) {
        let next = (self.start)(&Arc::clone(self.last.home()));
        self.killed.push(std::mem::replace(&mut self.last, next));
    }

    fn reexec(&self, times: usize) {
        let taken = || self.last.log().matches("circusd taken over").count();
        let before = taken();
        for time in 1..=times {
            grow(&log(&self.last));
            self.last.call("Reexec", json!({})).expect("it can go on");
            eventually("the next program", || {
                (taken() == before + time).then_some(())
            });
        }
        grow(&log(&self.last));
    }
}

fn log(daemon: &Daemon) -> PathBuf {
    daemon.home().path("web.log")
}

/// Waits until something more is in a file.
fn grow(path: &Path) {
    let size = || fs::metadata(path).map_or(0, |file| file.len());
    let before = size();
    eventually("more output", || (size() > before).then_some(()));
}

/// The workers of a daemon that has stopped have said all that they had to say.
fn check_all(daemon: &mut Daemon, begun_again: usize) {
    let workers = pids(&daemon.status("web"));
    assert!(daemon.stop().success());
    let all = counted(&text_of(&log(daemon)));
    assert_eq!(all.len(), workers.len(), "{all:?}");
    for (pid, count) in &all {
        assert!(workers.contains(&pid.parse().expect("a pid")), "{pid}");
        assert!(count.ended, "{pid}: {count:?}");
        assert!(count.repeated.len() <= begun_again, "{pid}: {count:?}");
        for bytes in &count.repeated {
            assert!(*bytes <= BATCH_BYTES, "{pid}: {count:?}");
        }
    }
    assert_eq!(pipes(daemon.home()), 0, "no pipe is left");
}

/// How many pipes there are in the state of a daemon.
fn pipes(home: &Home) -> usize {
    let mut directory = home.socket().into_os_string();
    directory.push(".state");
    let pipes = fs::read_dir(PathBuf::from(directory).join("output"));
    pipes.map_or(0, |pipes| pipes.count())
}

fn wait_pipes(home: &Home, wanted: usize) {
    eventually(&format!("{wanted} pipes"), || {
        (pipes(home) == wanted).then_some(())
    });
}

fn end(pid: u64, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid fits"));
    kill(pid, signal).expect("it runs");
}

fn wait_gone(pid: u64) {
    eventually("the end of a process", || (!runs(pid)).then_some(()));
}

/// Has each worker say this.
fn tell(home: &Home, number: usize, words: &str) {
    let new = home.path("say.new");
    fs::write(&new, words).expect("it can be written");
    fs::rename(&new, home.path(&format!("say.{number}"))).expect("it can be moved");
}

/// Waits until each worker has said this.
fn wait_said(daemon: &Daemon, words: &str) {
    for pid in pids(&daemon.status("web")) {
        wait_for_text(&log(daemon), &format!("{pid} {words}\n"));
    }
}

#[test]
fn no_line_to_a_file_is_lost_when_the_daemon_is_killed_twenty_times() {
    in_each_mode(|start| {
        let home = home(COUNTER, "", TO_FILE);
        let mut daemons = Daemons::start(&home, start);
        let workers = pids(&daemons.last.status("web"));
        for _ in 0..20 {
            grow(&log(&daemons.last));
            daemons.kill();
            daemons.next();
        }
        grow(&log(&daemons.last));
        assert_eq!(pids(&daemons.last.status("web")), workers);
        check_all(&mut daemons.last, 20);
    });
}

#[test]
fn no_line_to_a_logger_is_lost_or_doubled_when_the_daemon_is_killed_twenty_times() {
    in_each_mode(|start| {
        let home = home(COUNTER, CAT, TO_LOGGER);
        let mut daemons = Daemons::start(&home, start);
        let logger = number_of(&home.path("logger.pid"));
        for _ in 0..20 {
            grow(&log(&daemons.last));
            daemons.kill();
            daemons.next();
        }
        grow(&log(&daemons.last));
        let story = why(&daemons.last, "web");
        let known = format!("is read by a logger (pid {logger}).");
        assert!(story.contains(&known), "{story}");
        check_all(&mut daemons.last, 0);
        wait_gone(logger);
    });
}

#[test]
fn a_program_that_goes_on_in_the_same_process_loses_and_doubles_no_line() {
    for stdout in [TO_FILE, TO_LOGGER] {
        in_each_mode(|start| {
            let home = home(COUNTER, CAT, stdout);
            let mut daemons = Daemons::start(&home, start);
            daemons.reexec(5);
            check_all(&mut daemons.last, 0);
        });
    }
}

#[test]
fn what_is_said_while_there_is_no_daemon_is_written_by_the_next_one() {
    in_each_mode(|start| {
        let home = home(
            TELLER,
            "",
            "{file = '../web.log', prefix = '$(circus.wid): '}",
        );
        let mut daemons = Daemons::start(&home, start);
        wait_said(&daemons.last, "up");
        daemons.kill();
        tell(&home, 0, "alone");
        daemons.next();
        wait_said(&daemons.last, "alone");
        let text = text_of(&log(&daemons.last));
        for wid in [1, 2] {
            let own = text
                .lines()
                .filter(|line| line.starts_with(&format!("{wid}: ")));
            assert_eq!(own.count(), 2, "each line has its prefix: {text}");
        }
        let restarted = daemons.last.call("Restart", json!({"watchers": "web"}));
        restarted.expect("it restarts");
        wait_said(&daemons.last, "up");
        wait_pipes(&home, 2);
        assert!(daemons.last.stop().success());
        let text = text_of(&log(&daemons.last));
        assert_eq!(text.matches("farewell\n").count(), 4, "{text}");
        assert_eq!(pipes(&home), 0);
    });
}

#[test]
fn of_who_ended_or_closed_its_output_nothing_is_waited_for() {
    in_each_mode(|start| {
        let home = home("#!/bin/sh\nexec sleep 1000 >&-\n", "", TO_FILE);
        let mut daemons = Daemons::start(&home, start);
        let before = pids(&daemons.last.status("web"));
        let dead = *before.first().expect("there are two");
        wait_pipes(&home, 0);
        daemons.kill();
        end(dead, Signal::SIGKILL);
        daemons.next();
        daemons.last.wait_until("web", |web| {
            web["state"] == "active" && pids(web).len() == 2 && !pids(web).contains(&dead)
        });
        let log = daemons.last.log();
        assert!(!log.contains("failed to find"), "{log}");
    });
}

#[test]
fn a_logger_that_ends_while_there_is_no_daemon_has_a_successor_that_reads_on() {
    in_each_mode(|start| {
        let home = home(TELLER, LOGGER, TO_LOGGER);
        let mut daemons = Daemons::start(&home, start);
        wait_said(&daemons.last, "up");
        for number in 0..2 {
            let logger = number_of(&home.path("logger.pid"));
            daemons.kill();
            fs::remove_file(home.path("logger.pid")).expect("it is there");
            end(logger, Signal::SIGKILL);
            wait_gone(logger);
            tell(&home, number, &format!("words {number}"));
            daemons.next();
            wait_said(&daemons.last, &format!("words {number}"));
            assert_ne!(number_of(&home.path("logger.pid")), logger);
        }
        assert!(daemons.last.stop().success());
        let text = text_of(&log(&daemons.last));
        assert_eq!(text.matches("farewell\n").count(), 2, "{text}");
        assert_eq!(pipes(&home), 0);
    });
}

#[test]
fn a_logger_that_was_taken_over_is_heard_and_has_a_successor_when_it_ends() {
    in_each_mode(|start| {
        let home = home(TELLER, LOGGER, TO_LOGGER);
        let mut daemons = Daemons::start(&home, start);
        wait_said(&daemons.last, "up");
        let complaint = "the logger of its standard output: complaint\n";
        wait_for_text(&home.path("circusd.log"), complaint);
        daemons.kill();
        let heard = daemons.last.log().matches(complaint).count();
        daemons.next();
        tell(&home, 0, "to the old one");
        wait_said(&daemons.last, "to the old one");
        eventually("what it says is heard", || {
            (daemons.last.log().matches(complaint).count() > heard).then_some(())
        });
        let logger = number_of(&home.path("logger.pid"));
        fs::remove_file(home.path("logger.pid")).expect("it is there");
        end(logger, Signal::SIGKILL);
        wait_gone(logger);
        tell(&home, 1, "to the new one");
        wait_said(&daemons.last, "to the new one");
        assert_ne!(number_of(&home.path("logger.pid")), logger);
        // What is started now writes to the same one.
        let restarted = daemons.last.call("Restart", json!({"watchers": "web"}));
        restarted.expect("it restarts");
        wait_said(&daemons.last, "up");
        wait_pipes(&home, 2);
        assert!(daemons.last.stop().success());
    });
}

#[test]
fn no_pipe_is_left_of_what_is_gone() {
    in_each_mode(|start| {
        let home = home(TELLER, CAT, TO_FILE);
        let mut daemons = Daemons::start(&home, start);
        wait_said(&daemons.last, "up");
        wait_pipes(&home, 2);
        let set = |stdout| json!({"watcher": "web", "options": {"stdout": stdout}});
        let call = |daemons: &Daemons, verb, parameters| {
            daemons.last.call(verb, parameters).expect(verb);
        };
        let command = json!({"command": "sh logger.sh"});
        call(&daemons, "Set", set(command));
        wait_said(&daemons.last, "up");
        // That of the logger, and that of what it says to the log.
        wait_pipes(&home, 2);
        call(&daemons, "Set", set(json!("null")));
        wait_pipes(&home, 0);
        call(&daemons, "Set", set(json!({"file": home.path("web.log")})));
        wait_pipes(&home, 2);
        // One that nobody knows, as of a daemon that was killed before it could write that down.
        let mut stale = home.socket().into_os_string();
        stale.push(".state/output/0123456789abcdef.7");
        let mode = nix::sys::stat::Mode::S_IRWXU;
        nix::unistd::mkfifo(Path::new(&stale), mode).expect("a pipe can be made");
        daemons.kill();
        daemons.next();
        wait_pipes(&home, 2);
        assert!(!Path::new(&stale).exists());
        call(&daemons, "Remove", json!({"watcher": "web"}));
        wait_pipes(&home, 0);
    });
}

#[test]
fn a_pipe_of_which_the_state_does_not_tell_is_found_by_its_worker() {
    // Another instance goes on if there is no state at all: that takes cgroups.
    let damages: [&dyn Fn(&str) -> String; 2] = [
        &|state| {
            let lines = state.lines().filter(|line| !line.starts_with("{\"output"));
            lines.map(|line| format!("{line}\n")).collect()
        },
        &|_| "nonsense\n".to_owned(),
    ];
    for damaged in damages {
        let home = home(
            TELLER,
            "",
            "{file = '../web.log', prefix = '$(circus.wid): '}",
        );
        let start = |home: &Arc<Home>| home.start();
        let mut daemons = Daemons::start(&home, &start);
        if !has_cgroups(&daemons.last) {
            return skip("no cgroup can be made here");
        }
        wait_said(&daemons.last, "up");
        let workers = pids(&daemons.last.status("web"));
        daemons.kill();
        let mut state = home.socket().into_os_string();
        state.push(".state/state");
        let text = fs::read_to_string(&state).expect("there is a state");
        fs::write(&state, damaged(&text)).expect("it can be changed");
        tell(&home, 0, "alone");
        daemons.next();
        wait_said(&daemons.last, "alone");
        wait_pipes(&home, 2);
        daemons.kill();
        tell(&home, 1, "again");
        daemons.next();
        wait_said(&daemons.last, "again");
        let web = daemons
            .last
            .wait_until("web", |web| web["state"] == "active");
        assert_eq!(pids(&web), workers);
        assert!(daemons.last.stop().success());
        let text = text_of(&log(&daemons.last));
        assert_eq!(text.matches(": ").count(), text.lines().count(), "{text}");
        assert_eq!(text.matches("farewell\n").count(), 2, "{text}");
        assert_eq!(pipes(&home), 0);
    }
}

#[test]
fn where_no_pipe_can_have_a_name_output_is_written_all_the_same() {
    let home = home(TELLER, CAT, TO_FILE);
    let mut state = home.socket().into_os_string();
    state.push(".state");
    fs::create_dir(&state).expect("it can be made");
    let in_the_way = PathBuf::from(state).join("output");
    fs::write(&in_the_way, "").expect("it can be written");
    let mut daemon = home.start();
    wait_said(&daemon, "up");
    let set = json!({"watcher": "web", "options": {"stdout": {"command": "sh logger.sh"}}});
    daemon.call("Set", set).expect("it can be set");
    wait_said(&daemon, "up");
    assert!(daemon.stop().success());
    let text = text_of(&log(&daemon));
    assert_eq!(text.matches("farewell\n").count(), 4, "{text}");
    let told = daemon.log();
    assert_eq!(
        told.matches("no named pipe can be made in").count(),
        1,
        "{told}"
    );
}
