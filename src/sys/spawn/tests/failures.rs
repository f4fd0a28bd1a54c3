//! How a start fails: each stage by its name, and no process left.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::sys::testing::alone;

/// Starts what cannot be started, by every method; checks that no process is left of it.
pub(super) fn failure(command: &Command) -> (Stage, Option<i32>) {
    let failures: Vec<_> = methods()
        .iter()
        .map(|method| failure_by(*method, command, &[], None))
        .collect();
    assert!(
        failures.windows(2).all(|pair| pair[0] == pair[1]),
        "{failures:?}"
    );
    failures[0]
}

fn failure_by(
    method: Method,
    command: &Command,
    fds: &[(BorrowedFd<'_>, RawFd)],
    cgroup: Option<&Cgroup>,
) -> (Stage, Option<i32>) {
    let before = children_of_this_thread();
    let error = spawn_by(method, command, fds, cgroup).expect_err("must not start");
    assert_eq!(
        children_of_this_thread(),
        before,
        "{method:?} left a process behind: {error}"
    );
    assert_eq!(error.program, command.program);
    (error.stage, error.source.raw_os_error())
}

/// Zombies included. Other tests have children of their own, but not of this thread.
fn children_of_this_thread() -> String {
    fs::read_to_string("/proc/thread-self/children").unwrap()
}

#[test]
fn a_number_given_twice_or_below_zero_is_refused() {
    let null = File::open("/dev/null").unwrap();
    for numbers in [[5, 5], [5, -1], [5, i32::MAX]] {
        let fds = numbers.map(|to| (null.as_fd(), to));
        let failure = failure_by(method(), &script(""), &fds, None);
        assert_eq!(
            failure,
            (Stage::Preparing, Some(libc::EINVAL)),
            "{numbers:?}"
        );
    }
    let fds = [(null.as_fd(), i32::MAX - 1)];
    let failure = failure_by(method(), &script(""), &fds, None);
    assert_eq!(failure, (Stage::PassingDescriptors, Some(libc::EBADF)));
}

#[test]
fn a_user_may_ask_for_what_it_is_already() {
    let mut command = script("echo fine");
    command.uid = Some(nix::unistd::geteuid());
    command.gid = Some(nix::unistd::getegid());
    command.groups = Some(nix::unistd::getgroups().unwrap());
    if !is_root() {
        assert_eq!(output(&command), "fine\n");
        return;
    }
    // As root everything is permitted, so this thread gives up the power to change users for a while.
    let unprivileged = std::thread::spawn(move || {
        crate::sys::caps::keep_only(crate::sys::caps::Capabilities::NONE).unwrap();
        assert_eq!(output(&command), "fine\n");
        command.groups = Some(vec![Gid::from_raw(4242)]);
        assert_eq!(
            failure(&command),
            (Stage::ChangingGroups, Some(libc::EPERM))
        );
        command.groups = None;
        command.gid = Some(Gid::from_raw(4242));
        assert_eq!(failure(&command), (Stage::ChangingGroup, Some(libc::EPERM)));
        command.gid = None;
        command.uid = Some(Uid::from_raw(NOBODY));
        assert_eq!(failure(&command), (Stage::ChangingUser, Some(libc::EPERM)));
        command.uid = None;
        command.oom_score_adj = Some(-1000);
        assert_eq!(
            failure(&command),
            (Stage::SettingOomScore, Some(libc::EACCES))
        );
        command.oom_score_adj = None;
        command.ioprio = Some(Ioprio {
            class: IoClass::Realtime,
            level: 0,
        });
        assert_eq!(failure(&command), (Stage::SettingIoprio, Some(libc::EPERM)));
        command.ioprio = None;
        command.nice = Some(-20);
        assert_eq!(failure(&command), (Stage::SettingNice, Some(libc::EACCES)));
        command.nice = None;
        command.capabilities = Some([Capability::CAP_KILL].into_iter().collect());
        assert_eq!(
            failure(&command),
            (Stage::SettingCapabilities, Some(libc::EPERM))
        );
    });
    unprivileged.join().unwrap();
}

#[test]
fn the_directory_is_entered_as_the_workers_user() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let mut command = script("pwd");
    command.working_dir = Some(dir.path().into());
    assert_eq!(output(&command), format!("{}\n", dir.path().display()));
    command.uid = Some(Uid::from_raw(NOBODY));
    assert_eq!(
        failure(&command),
        (Stage::ChangingDirectory, Some(libc::EACCES))
    );
}

#[test]
fn the_program_is_executed_as_the_workers_user() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let tool = dir.path().join("tool");
    put_program(&tool, "#!/bin/sh\n");
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o700)).unwrap();
    let mut command = Command::new(&tool);
    command.uid = Some(Uid::from_raw(NOBODY));
    assert_eq!(failure(&command), (Stage::Executing, Some(libc::EACCES)));
}

#[test]
fn each_failure_names_its_stage() {
    let dir = tempfile::tempdir().unwrap();
    let with = |change: fn(&mut Command)| {
        let mut command = script("");
        change(&mut command);
        failure(&command)
    };
    assert_eq!(
        failure(&Command::new("/proc/none")),
        (Stage::Executing, Some(libc::ENOENT))
    );
    assert_eq!(
        failure(&Command::new(dir.path())),
        (Stage::Executing, Some(libc::EACCES))
    );
    let text = dir.path().join("text");
    fs::write(&text, "no program").unwrap();
    assert_eq!(
        failure(&Command::new(&text)),
        (Stage::Executing, Some(libc::EACCES))
    );
    let bad = dir.path().join("bad");
    put_program(&bad, "no program");
    assert_eq!(
        failure(&Command::new(&bad)),
        (Stage::Executing, Some(libc::ENOEXEC))
    );
    let orphan = dir.path().join("orphan");
    put_program(&orphan, "#!/proc/none/interpreter\n");
    assert_eq!(
        failure(&Command::new(&orphan)),
        (Stage::Executing, Some(libc::ENOENT))
    );
    assert_eq!(
        with(|c| c.working_dir = Some("/proc/none".into())),
        (Stage::ChangingDirectory, Some(libc::ENOENT))
    );
    assert_eq!(
        with(|c| c.rlimits = vec![
            (Resource::RLIMIT_CORE, 0, 0),
            (Resource::RLIMIT_NOFILE, 2, 1)
        ]),
        (
            Stage::SettingLimit(Resource::RLIMIT_NOFILE),
            Some(libc::EINVAL)
        )
    );
    assert_eq!(
        with(|c| c.oom_score_adj = Some(5000)),
        (Stage::SettingOomScore, Some(libc::EINVAL))
    );
    let level = |c: &mut Command| {
        c.ioprio = Some(Ioprio {
            class: IoClass::BestEffort,
            level: 200,
        });
    };
    assert_eq!(with(level), (Stage::SettingIoprio, Some(libc::EINVAL)));
    assert_eq!(with(|c| c.argv.push("a\0b".into())).0, Stage::Preparing);
    assert_eq!(
        with(|c| c.env.push(("A\0".into(), "".into()))).0,
        Stage::Preparing
    );
    assert_eq!(
        with(|c| c.env.push(("A=B".into(), "".into()))).0,
        Stage::Preparing
    );
}

#[test]
fn an_error_reads_as_a_sentence() {
    let error = spawn(&Command::new("/srv/none"), &[], None).unwrap_err();
    assert_eq!(error.to_string(), "failed to start '/srv/none': executing");
    let limit = Stage::SettingLimit(Resource::RLIMIT_NOFILE).to_string();
    assert_eq!(limit, "setting its limit RLIMIT_NOFILE");
}

#[test]
fn a_cgroup_that_is_gone_or_frozen_is_refused() {
    for method in methods() {
        let Some(group) = group("refuse") else { return };
        group.freeze().unwrap();
        let frozen = failure_by(method, &script(""), &[], Some(&group));
        assert_eq!(
            frozen,
            (Stage::EnteringCgroup, Some(libc::EBUSY)),
            "{method:?}"
        );
        group.remove().unwrap();
        let (stage, errno) = failure_by(method, &script(""), &[], Some(&group));
        assert_eq!(stage, Stage::EnteringCgroup, "{method:?}");
        assert_eq!(errno, Some(libc::ENODEV), "{method:?}");
    }
}

#[test]
fn a_cgroup_closed_to_us_is_refused() {
    if !is_root() {
        return;
    }
    for method in methods() {
        let Some(group) = group("closed") else { return };
        let path = group.path().to_owned();
        let unprivileged = std::thread::spawn(move || {
            // The file belongs to root, and without capabilities its mode counts; ours is another user's
            // id for files only in this thread.
            // SAFETY: numbers only.
            unsafe { libc::syscall(libc::SYS_setfsuid, NOBODY) };
            crate::sys::caps::keep_only(Capabilities::NONE).unwrap();
            let group = Cgroup::open(path).unwrap();
            failure_by(method, &script(""), &[], Some(&group))
        });
        let failure = unprivileged.join().unwrap();
        assert_eq!(
            failure,
            (Stage::EnteringCgroup, Some(libc::EACCES)),
            "{method:?}"
        );
        group.remove().unwrap();
    }
}

#[test]
fn a_full_descriptor_table_is_told_as_such() {
    if !alone(
        "sys::spawn::tests::failures::a_full_descriptor_table_is_told_as_such",
        vec![(Resource::RLIMIT_NOFILE, 40, 40)],
    ) {
        return;
    }
    let null = File::open("/dev/null").unwrap();
    let fds = [0, 1, 2].map(|to| (null.as_fd(), to));
    let mut full: Vec<File> = std::iter::from_fn(|| null.try_clone().ok()).collect();
    for method in methods() {
        let error = spawn_by(method, &script(""), &fds, None).unwrap_err();
        let found = (error.stage, error.source.raw_os_error());
        assert_eq!(
            found,
            (Stage::CreatingProcess, Some(libc::EMFILE)),
            "{method:?}"
        );
    }
    full.pop();
    for method in methods() {
        let child = spawn_by(method, &script(""), &fds, None).unwrap();
        assert_eq!(testing::wait(&child), ExitStatus::Exited(0), "{method:?}");
    }
}
