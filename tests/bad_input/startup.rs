//! Starts that cannot be, and ends of what the daemon writes to.

use std::fs;
use std::io::Read;
use std::process::Stdio;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::json;

use super::common::{Home, output};
use super::{SLEEPER, assert_alive, complaint};

const CONFIG_ERROR: Option<i32> = Some(78);

const THREE_MISTAKES: &str = r#"
[circusd]
event_buffer = 0
[watcher.web]
cmd = "sleep infinity"
numproceses = 3
[watcher.other]
graceful_timeout = "soon"
"#;

#[test]
fn every_mistake_of_a_configuration_is_told_and_nothing_starts() {
    let home = Home::new(THREE_MISTAKES);
    for arguments in [&[][..], &["--check"]] {
        let output = home.run_to_end(arguments);
        let complaint = complaint(&output);
        assert_eq!(output.status.code(), CONFIG_ERROR, "{complaint}");
        for told in [
            "circusd.toml:3:",
            "event_buffer",
            "circusd.toml:6:",
            "numprocesses",
            "circusd.toml:8:",
            "graceful_timeout",
            "cmd",
        ] {
            assert!(complaint.contains(told), "'{told}' is not in: {complaint}");
        }
    }
    assert!(!home.socket().exists());
    assert!(!home.path("circusd.sock.state").exists());
}

#[test]
fn checking_starts_nothing() {
    let home = Home::new(SLEEPER);
    let output = home.run_to_end(&["--check"]);
    assert!(output.status.success(), "{}", complaint(&output));
    assert!(!home.socket().exists());
    // Beside a daemon that runs, too.
    let daemon = home.start();
    assert!(home.run_to_end(&["--check"]).status.success());
    assert_alive(&daemon);
}

#[test]
fn configurations_that_are_none() {
    let home = Home::new(SLEEPER);
    let file = home.path("etc/circusd.toml");
    fs::remove_file(&file).expect("it can be removed");
    let missing = home.run_to_end(&[]);
    assert_eq!(missing.status.code(), CONFIG_ERROR, "{missing:?}");
    assert!(complaint(&missing).contains("circusd.toml"), "{missing:?}");
    for text in [
        &b"\xff\xfe"[..],
        b"\0",
        b"[",
        b"[watcher.x]\ncmd = '",
        &[b'['; 100_000],
    ] {
        fs::write(&file, text).expect("it can be written");
        let output = home.run_to_end(&["--check"]);
        assert_eq!(output.status.code(), CONFIG_ERROR, "{output:?}");
        assert!(complaint(&output).contains("circusd.toml"), "{output:?}");
    }
}

#[test]
fn a_flag_that_means_nothing() {
    let home = Home::new(SLEEPER);
    for (arguments, told) in [
        (["--set", "circusd.event_bufer=3"], "event_buffer"),
        (["--set", "nonsense"], "nonsense"),
        (["--log-level", "loud"], "loud"),
    ] {
        let output = home.run_to_end(&arguments);
        assert_eq!(output.status.code(), CONFIG_ERROR, "{output:?}");
        assert!(complaint(&output).contains(told), "{output:?}");
    }
}

#[test]
fn a_log_or_a_pidfile_that_cannot_be_written() {
    let home = Home::new(SLEEPER);
    for key in ["log_target", "pidfile"] {
        let place = home.path("nowhere/file");
        let setting = format!("circusd.{key}={}", place.display());
        let output = home.run_to_end(&["--set", &setting]);
        let complaint = complaint(&output);
        assert_eq!(output.status.code(), Some(1), "{complaint}");
        assert!(
            complaint.contains(&*place.to_string_lossy()) && complaint.contains("No such file"),
            "{complaint}"
        );
        assert!(!home.socket().exists(), "{key}");
    }
}

#[test]
fn a_pidfile_that_is_no_file() {
    let home = Home::new(SLEEPER);
    let (target, link, pipe) = (home.path("target"), home.path("link"), home.path("pipe"));
    fs::write(&target, "precious").expect("a file can be written");
    std::os::unix::fs::symlink(&target, &link).expect("a link can be made");
    mkfifo(&pipe, Mode::S_IRWXU).expect("a pipe can be made");
    // Somebody reads, so that the pipe could be opened.
    let mut reader = fs::OpenOptions::new();
    let _reader = reader.read(true).write(true).open(&pipe);
    for place in [&link, &pipe] {
        let setting = format!("circusd.pidfile={}", place.display());
        let output = home.run_to_end(&["--set", &setting]);
        let complaint = complaint(&output);
        assert_eq!(output.status.code(), Some(1), "{complaint}");
        assert!(complaint.contains(&*place.to_string_lossy()), "{complaint}");
        assert!(!home.socket().exists());
    }
    let text = fs::read_to_string(&target).expect("it is still there");
    assert_eq!(text, "precious");
}

#[test]
fn a_log_that_is_a_pipe_without_a_reader() {
    let home = Home::new("");
    let pipe = home.path("pipe");
    mkfifo(&pipe, Mode::S_IRWXU).expect("a pipe can be made");
    home.configure(&format!(
        "[circusd]\nlog_target = '{}'\n{SLEEPER}",
        pipe.display()
    ));
    let output = home.run_to_end(&[]);
    let complaint = complaint(&output);
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    let told = format!("failed to open the log '{}'", pipe.display());
    assert!(complaint.contains(&told), "{complaint}");
}

#[test]
fn more_than_the_limits_allow_is_no_configuration() {
    let two = format!("{SLEEPER}\n[watcher.other]\ncmd = 'sleep infinity'\nnumprocesses = 7\n");
    for (limit, told) in [
        ("watchers_max = 1", "watchers"),
        ("processes_max = 7", "processes"),
    ] {
        let home = Home::new(&format!("[circusd]\n{limit}\n{two}"));
        let output = home.run_to_end(&[]);
        let complaint = complaint(&output);
        assert_eq!(output.status.code(), CONFIG_ERROR, "{complaint}");
        assert!(complaint.contains(told), "{complaint}");
    }
}

#[test]
fn nobody_reads_what_the_daemon_logs() {
    let home = Home::new(SLEEPER);
    let (reader, writer) = std::io::pipe().expect("a pipe can be made");
    drop(reader);
    let mut daemon = home.start_with(|command| {
        let writer = writer.try_clone().expect("a descriptor can be doubled");
        command.stdout(Stdio::null()).stderr(writer);
    });
    daemon
        .call("Scale", json!({"watcher": "sleeper", "delta": 1}))
        .expect("sleeper can grow");
    assert_alive(&daemon);
    assert!(daemon.stop().success());
}

#[test]
fn what_the_daemon_logs_is_read_too_slowly() {
    const RECORDS: usize = 3000;
    let home = Home::new(SLEEPER);
    let (mut reader, writer) = std::io::pipe().expect("a pipe can be made");
    let mut daemon = home.start_with(|command| {
        command.stdout(Stdio::null()).stderr(writer);
    });
    // Many times what a pipe holds, and nobody takes any of it.
    let mut connection = daemon.connect();
    let signal = json!({"watcher": "sleeper", "signal": "SIGCONT"});
    for _ in 0..RECORDS {
        let reply = connection.call("Signal", signal.clone());
        assert!(reply.is_ok(), "{reply:?}");
    }
    // Room for the record that tells of it.
    let mut taken = [0; 32 * 1024];
    reader.read_exact(&mut taken).expect("it is there");
    assert!(connection.call("Signal", signal).is_ok());
    assert!(daemon.stop().success());
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("it is text");
    assert!(text.contains("log records were lost"), "{text}");
}

#[test]
fn the_disk_of_the_log_is_full() {
    let home = Home::new(&format!("[circusd]\nlog_target = '/dev/full'\n{SLEEPER}"));
    let (reader, writer) = std::io::pipe().expect("a pipe can be made");
    drop(reader);
    let mut daemon = home.start_with(|command| {
        command.stderr(writer);
    });
    assert_alive(&daemon);
    assert!(daemon.stop().success());
}

#[test]
fn closed_descriptors_are_not_mistaken_for_others() {
    let home = Home::new(SLEEPER);
    // Started with 0, 1 and 2 closed, the daemon's own first files must not become them.
    let circusd = home.circusd();
    let mut shell = home.program("/bin/sh");
    shell
        .args(["-c", "exec \"$@\" --check 0<&- 1>&- 2>&-", "sh"])
        .arg(circusd.get_program())
        .args(circusd.get_args());
    let checked = output(shell);
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn a_reload_that_is_wrong_changes_nothing_and_says_why() {
    let home = Home::new(SLEEPER);
    let daemon = home.start();
    let before = daemon.status("sleeper");
    let mut events = daemon.subscribe();
    home.configure(THREE_MISTAKES);
    let error = daemon
        .call("ReloadConfig", json!({}))
        .expect_err("it is wrong");
    assert_eq!(error.error, "io.circusd.InvalidConfig");
    assert_eq!(error.parameters["line"], 3, "{error:?}");
    let told = events.wait("circusd.config_error");
    let text = told["data"]["error"].as_str().expect("a text");
    assert!(text.contains("numprocesses"), "{told}");
    assert_eq!(daemon.status("sleeper"), before);

    // By signal there is nobody to answer: the events tell.
    let too_many = format!("[circusd]\nwatchers_max = 1\n{SLEEPER}[watcher.b]\ncmd = 'true'\n");
    home.configure(&too_many);
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    let told = events.wait("circusd.config_error");
    let text = told["data"]["error"].as_str().expect("a text");
    assert!(text.contains("watchers"), "{told}");
    assert_eq!(daemon.status("sleeper"), before);
}

#[test]
fn help_and_schema_survive_a_reader_that_leaves() {
    let home = Home::new(SLEEPER);
    let mut command = home.circusd();
    command.arg("--print-schema").stdout(Stdio::piped());
    let mut child = command.spawn().expect("circusd can be started");
    let mut stdout = child.stdout.take().expect("it was asked for");
    let mut first = [0; 1];
    stdout.read_exact(&mut first).expect("it prints");
    drop(stdout);
    let status = child.wait().expect("our own child can be waited for");
    assert!(status.success(), "{status}");
}
