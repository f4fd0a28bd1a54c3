//! The life of the RPM in a machine. That is Debian, which has a database of RPMs of its own: what a
//! distribution of RPMs would bring, dependencies above all, is not looked at.

use crate::built::RPM;
use crate::common::Container;
use crate::life::{CGROUP, explained, is_forgotten, left, nobody_notices};
use crate::machine_for;

fn rpm(container: &Container, arguments: &[&str]) {
    let rpm = ["rpm", "--nodeps"];
    let output = container.run(&[&rpm, arguments].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    // A part that fails is told of, and no failure.
    assert_eq!(said, "", "{arguments:?}");
}

#[test]
fn an_rpm_is_installed_upgraded_and_removed() {
    let Some((container, package)) = machine_for(&RPM) else {
        return;
    };
    rpm(&container, &["--install", &package]);
    // Who has changed, lost or added what came with it would be told.
    container.succeed(&["rpm", "--verify", "--nodeps", "circusd"]);
    for unit in ["circusd.service", "circusd.socket"] {
        let state = container.property(unit, "UnitFileState");
        assert_eq!(state, "enabled", "{unit}");
        let state = container.property(unit, "ActiveState");
        assert_eq!(state, "inactive", "started by whoever installs it: {unit}");
    }
    assert!(explained(&container) > 0);
    container.succeed(&["systemctl", "start", "circusd"]);
    container.succeed(&["circusctl", "status"]);
    nobody_notices(&container, || {
        rpm(&container, &["--upgrade", "--force", &package]);
    });

    container.succeed(&["rm", "/etc/circusd/conf.d/pool.toml"]);
    rpm(&container, &["--erase", "circusd"]);
    assert!(!container.path(CGROUP).exists(), "workers end with it");
    assert_eq!(left(&container), "");
    is_forgotten(&container);
}
