//! Replacing a pool under load: four HTTP servers behind one inherited socket, clients that never
//! pause for long, and not one request that fails for it.

mod common;

use common::Daemon;
use common::facts::{http_worker, pids, port_of};
use common::load::Load;
use serde_json::json;

const RELOADS: usize = 10;

fn pool() -> Daemon {
    let worker = http_worker();
    Daemon::start(&format!(
        "[socket.http]\nhost = '127.0.0.1'\nport = 0\n\
         [watcher.web]\ncmd = ['{}', '--listen-fds']\nuse_sockets = ['http']\nnumprocesses = 4\n",
        worker.display()
    ))
}

#[test]
fn no_request_fails_in_ten_reloads_and_in_scaling() {
    let daemon = pool();
    let load = Load::on(port_of(&daemon, "http"));
    load.more(50);
    for round in 1..=RELOADS {
        let before = pids(&daemon.status("web"));
        let reload = daemon.ctl(&["reload", "web"]);
        assert!(reload.status.success(), "reload {round}: {reload:?}");
        let after = daemon.wait_until("web", |status| pids(status).len() == 4);
        assert!(pids(&after).is_disjoint(&before), "{after}");
        load.more(50);
    }
    assert!(
        daemon
            .ctl(&["reload", "--sequential", "web"])
            .status
            .success()
    );
    for number in ["8", "1", "4"] {
        let scaled = daemon.ctl(&["numprocesses", "web", number]);
        assert!(scaled.status.success(), "{scaled:?}");
        load.more(50);
    }
    let (answered, failed) = (load.answered(), load.failed());
    println!(
        "{RELOADS} reloads, 1 sequential, scaled to 8, 1 and 4: {answered} requests answered, {} failed",
        failed.len()
    );
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn a_killed_worker_costs_no_more_than_the_request_it_had() {
    let daemon = pool();
    let load = Load::on(port_of(&daemon, "http"));
    load.more(50);
    let mut events = daemon.subscribe();
    let kill = json!({"watcher": "web", "signal": "SIGKILL", "wid": 2});
    daemon.call("Signal", kill).expect("it runs");
    events.wait_where("watcher.web.spawn", |data| data["wid"] == 2);
    load.more(50);
    let (answered, failed) = (load.answered(), load.failed());
    println!(
        "1 of 4 killed: {answered} requests answered, {} failed",
        failed.len()
    );
    // It answers one client at a time.
    assert!(failed.len() <= 1, "{failed:#?}");
}
