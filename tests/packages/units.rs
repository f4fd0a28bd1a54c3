//! The units: systemd finds nothing wrong with them, they stay as tight as they are, and workers
//! get what the sandbox leaves them.

use std::fs;

use crate::built::checkout;
use crate::common::{Container, eventually};
use crate::{configure, install, machine, status};

/// What `systemd-analyze security` of systemd 257 says, of 10; circusd(8) tells it too.
const EXPOSURE: &str = "5.8";

/// The same with the drop-in that closes all that circusd can do without.
const EXPOSURE_CLOSED: &str = "3.4";

const DROP_IN: &str = "/etc/systemd/system/circusd.service.d/closed.conf";

fn close(container: &Container) {
    let text = container.succeed(&["cat", "/usr/share/doc/circusd/examples/closed.conf"]);
    container.write(DROP_IN, &text);
    container.succeed(&["systemctl", "daemon-reload"]);
}

/// The figure in the last line: "→ Overall exposure level for circusd.service: 5.8 MEDIUM :-|".
fn exposure(container: &Container) -> String {
    let analyze = [
        "systemd-analyze",
        "security",
        "--no-pager",
        "circusd.service",
    ];
    let text = container.succeed(&analyze);
    let (_, level) = text.rsplit_once(": ").expect("there is a last line");
    level.split(' ').next().unwrap_or_default().to_owned()
}

/// Without a word, as a warning is no error for it.
fn verify(container: &Container, units: &[&str]) {
    let analyze = ["systemd-analyze", "verify", "--man=no"];
    let output = container.run(&[&analyze[..], units].concat());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && text.is_empty(),
        "{units:?}: {text}"
    );
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let Some((container, package)) = machine() else {
        return;
    };
    install(&container, &package);
    verify(&container, &["circusd.service", "circusd.socket"]);
    assert_eq!(exposure(&container), EXPOSURE);
    close(&container);
    verify(&container, &["circusd.service"]);
    assert_eq!(exposure(&container), EXPOSURE_CLOSED);
    let page = fs::read_to_string(checkout("man/circusd.8")).expect("it is there");
    for told in [
        format!("says {EXPOSURE} of 10"),
        format!("says {EXPOSURE_CLOSED}."),
    ] {
        assert!(page.contains(&told), "circusd(8) does not say '{told}'");
    }
}

#[test]
fn a_user_runs_one_of_his_own() {
    let Some((container, package)) = machine() else {
        return;
    };
    install(&container, &package);
    container.succeed(&["useradd", "--create-home", "--uid=1234", "alice"]);
    container.succeed(&["systemctl", "start", "user@1234.service"]);
    let alice = |command: &[&str]| {
        let alice = [
            "setpriv",
            "--reuid=alice",
            "--regid=alice",
            "--init-groups",
            "env",
        ];
        let home = ["HOME=/home/alice", "XDG_RUNTIME_DIR=/run/user/1234"];
        container.succeed(&[&alice[..], &home, command].concat())
    };
    container.write(
        "/home/alice/.config/circusd/circusd.toml",
        "[watcher.web]\ncmd = [\"sleep\", \"1000\"]\n",
    );
    container.succeed(&["chown", "--recursive", "alice:", "/home/alice"]);
    let units = ["service", "socket"].map(|kind| format!("/usr/lib/systemd/user/circusd.{kind}"));
    let verify = ["systemd-analyze", "verify", "--man=no", "--user"];
    alice(&[&verify[..], &[&units[0], &units[1]]].concat());
    alice(&["systemctl", "--user", "enable", "--now", "circusd"]);
    let socket = container.succeed(&[
        "stat",
        "--format=%A %U",
        "/run/user/1234/circusd/circusd.sock",
    ]);
    assert_eq!(socket.trim(), "srw------- alice");
    let pid = alice(&["circusctl", "list", "web"]);
    alice(&["systemctl", "--user", "restart", "circusd"]);
    assert_eq!(alice(&["circusctl", "list", "web"]), pid);
    alice(&["systemctl", "--user", "stop", "circusd.socket"]);
    let state = alice(&[
        "systemctl",
        "--user",
        "show",
        "--property=ActiveState",
        "circusd",
    ]);
    assert_eq!(state.trim(), "ActiveState=inactive");
    let exe = container.run(&["test", "-e", &format!("/proc/{}/exe", pid.trim())]);
    assert!(!exe.status.success(), "the worker runs on");
}

/// What takes privileges to be set, of all that a watcher can be told.
const DEMANDING: &str = r#"
    [socket.low]
    host = "127.0.0.1"
    port = 81

    [watcher.web]
    cmd = ["sh", "-c", "date > /var/web/$CIRCUS_WID; exec sleep 1000"]
    numprocesses = 2
    uid = "nobody"
    groups = ["circus"]
    nice = -5
    oom_score_adj = 300
    ioprio = "realtime:1"
    rlimits = { nofile = 512, core = 0 }
    capabilities = ["CAP_NET_BIND_SERVICE"]
    use_sockets = ["low"]
    stdout = "journal"
    stderr = { file = "/var/log/web.log" }"#;

/// All of it is there, in the machine that `prepare` has prepared.
fn serves_the_demanding(prepare: impl Fn(&Container)) {
    let Some((container, package)) = machine() else {
        return;
    };
    install(&container, &package);
    prepare(&container);
    container.succeed(&["install", "--directory", "--owner=nobody", "/var/web"]);
    configure(&container, DEMANDING);
    let status = status(&container, "web");
    assert_eq!(status["state"], "active", "{status}");
    for wid in [1, 2] {
        let file = container.path(&format!("/var/web/{wid}"));
        eventually("a worker that writes", || file.exists().then_some(()));
    }
}

#[test]
fn the_sandbox_leaves_workers_all_that_a_watcher_can_name() {
    serves_the_demanding(|_| {});
}

#[test]
fn the_closed_sandbox_does_so_too() {
    serves_the_demanding(|container| {
        close(container);
        container.succeed(&["systemctl", "restart", "circusd"]);
    });
}

/// What of the machine a worker can see or do, a line each.
const CURIOUS: &str = r#"
    [watcher.web]
    cmd = ["sh", "-c", """
        exec > /var/seen 2>/dev/null
        touch /usr/x && echo usr; touch /etc/x && echo etc; touch /opt/x && echo opt
        ls /root/x && echo home; ls /tmp/x && echo tmp
        date --set=@0 > /dev/null && echo clock; mount -t tmpfs x /mnt && echo mount
        unshare --user true && echo namespace
        echo end; exec sleep 1000"""]"#;

fn seen(closed: bool) -> Option<String> {
    let (container, package) = machine()?;
    install(&container, &package);
    container.succeed(&["touch", "/root/x", "/tmp/x"]);
    if closed {
        close(&container);
        container.succeed(&["systemctl", "restart", "circusd"]);
    }
    configure(&container, CURIOUS);
    let file = container.path("/var/seen");
    Some(eventually("a worker that has looked around", || {
        let text = fs::read_to_string(&file).ok()?;
        text.ends_with("end\n").then_some(text)
    }))
}

#[test]
fn workers_find_closed_what_the_units_close() {
    let Some(open) = seen(false) else { return };
    assert_eq!(
        open.split_whitespace().collect::<Vec<_>>(),
        [
            "opt",
            "/root/x",
            "home",
            "/tmp/x",
            "tmp",
            "namespace",
            "end"
        ]
    );
    let closed = seen(true).unwrap_or_default();
    assert_eq!(closed, "end\n");
}
