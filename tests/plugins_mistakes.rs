//! What becomes of mistakes in the settings of plugins that only show when the plugin runs: nothing
//! of anybody else's is harmed, and the message names the place.

mod common;

use std::fs;
use std::os::unix::net::UnixStream;

use common::facts::wait_for_text;
use common::{Home, output};

/// Waits until circusd has logged this.
fn wait_logged(home: &Home, text: &str) {
    wait_for_text(&home.path("circusd.log"), text);
}

#[test]
fn metrics_never_removes_what_is_not_its_own_socket() {
    let home = Home::new("");
    let root = home.root().display().to_string();
    fs::write(home.path("precious"), "data").expect("a file can be written");
    home.configure(&format!(
        "[plugin.first]\nuse = \"metrics\"\npath = \"{root}/numbers\"\n\
         [plugin.second]\nuse = \"metrics\"\npath = \"{root}/numbers\"\n\
         [plugin.second.watcher]\npriority = 1\n\
         [plugin.wrong]\nuse = \"metrics\"\npath = \"{root}/precious\"\n"
    ));
    let _daemon = home.start();
    // Said when it has done everything else.
    wait_logged(&home, &format!("cannot listen on {root}/numbers"));
    wait_logged(&home, &format!("cannot listen on {root}/precious"));
    UnixStream::connect(home.path("numbers")).expect("the first one still answers");
    let precious = fs::read_to_string(home.path("precious"));
    assert_eq!(precious.expect("it is there"), "data");
}

#[test]
fn a_port_in_use_is_named() {
    let home = Home::new("");
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("it is bound");
    let mut command = home.program(env!("CARGO_BIN_EXE_circus-plugin"));
    command.args(["--config", &format!("port={}", address.port()), "watchdog"]);
    let output = output(command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&format!("cannot listen on {address}")),
        "{said}"
    );
}

/// A plugin that replaces every process that it is meant to look at, and no plugin.
fn check_spares_plugins(plugin: &str, told: &str) {
    let home = Home::new(&format!(
        "[watcher.web]\ncmd = \"sleep 1000\"\n[plugin.own]\ncmd = \"sleep 1000\"\n\
         [plugin.acting]\nloop_rate = \"50ms\"\nmax_count = 1\n{plugin}"
    ));
    let daemon = home.start();
    let mut events = daemon.subscribe();
    wait_logged(&home, told);
    for _ in 0..3 {
        events.wait("watcher.web.ready");
    }
    for name in ["own", "acting"] {
        let status = daemon.status(&format!("plugin:{name}"));
        assert_eq!(status["last_exit"], serde_json::Value::Null, "{status}");
    }
}

#[test]
fn a_watchdog_of_all_watchers_spares_plugins() {
    let free = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let port = free.local_addr().expect("it is bound").port();
    drop(free);
    let plugin = format!("use = \"watchdog\"\nport = {port}\n");
    check_spares_plugins(&plugin, "watchdog: web: pid");
}

#[test]
fn a_resource_watcher_of_all_watchers_spares_plugins() {
    let plugin = "use = \"resource_watcher\"\nwatchers = \"*\"\nmin_mem = \"1T\"\n";
    check_spares_plugins(plugin, "resource_watcher: web: process 1");
}
