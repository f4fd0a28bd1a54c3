//! Real children, by every method there is: what they get and what they do not.

mod failures;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use ::caps::Capability;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{SigHandler, Signal};
use nix::unistd::pipe;

use super::*;
use crate::sys::cgroup::Removal;
use crate::sys::pidfd::ExitStatus;
use crate::sys::testing::{self, PATIENCE, group, is_root, script};
use failures::failure;

const NOBODY: u32 = 65534;

/// All methods that this machine has: the first choice and its substitutes.
fn methods() -> Vec<Method> {
    let best = method();
    let all = [Method::Clone3IntoCgroup, Method::Clone3, Method::Clone];
    let from = all.iter().position(|m| *m == best).unwrap();
    for lacking in &all[..from] {
        testing::skipped(format_args!("no {lacking:?} on this machine"));
    }
    all[from..].to_vec()
}

/// What `command` writes to its standard output, by every method; all must say the same.
fn output(command: &Command) -> String {
    let outputs: Vec<String> = methods()
        .iter()
        .map(|method| output_by(*method, command))
        .collect();
    assert!(
        outputs.windows(2).all(|pair| pair[0] == pair[1]),
        "{outputs:#?}"
    );
    outputs[0].clone()
}

fn output_by(method: Method, command: &Command) -> String {
    let (read, write) = pipe().unwrap();
    let stderr = std::io::stderr();
    let fds = [(write.as_fd(), 1), (stderr.as_fd(), 2)];
    let child = spawn_by(method, command, &fds, None).unwrap();
    drop(write);
    let mut text = String::new();
    File::from(read).read_to_string(&mut text).unwrap();
    assert_eq!(
        testing::wait(&child),
        ExitStatus::Exited(0),
        "{method:?}: {text}"
    );
    text
}

/// The lines of the child's `/proc/self/status` that begin with one of `keys`, without blanks.
fn status(mut command: Command, keys: &str) -> Vec<String> {
    // Not grep, which catches a signal of its own.
    command.program = "/bin/cat".into();
    command.argv = vec!["cat".into(), "/proc/self/status".into()];
    let methods = methods().into_iter();
    let found: Vec<Vec<String>> = methods
        .map(|method| pick(&output_by(method, &command), keys))
        .collect();
    assert!(
        found.windows(2).all(|pair| pair[0] == pair[1]),
        "{found:#?}"
    );
    found[0].clone()
}

fn pick(status: &str, keys: &str) -> Vec<String> {
    let wanted = |line: &&str| {
        keys.split('|')
            .any(|key| line.starts_with(&format!("{key}:")))
    };
    status
        .lines()
        .filter(wanted)
        .map(|line| line.replace(['\t', ' '], ""))
        .collect()
}

#[test]
fn arguments_and_environment_arrive_as_they_are() {
    let mut command = script("printf '%s|' \"$0\" \"$@\" \"$ONE\"; env | grep -c =");
    command
        .argv
        .extend(["zero".into(), "a b".into(), "".into()]);
    command.env.push(("ONE".into(), "1=2".into()));
    // PATH, ONE, and what the shell itself adds.
    let expected = output(&script("env | grep -c ="))
        .trim()
        .parse::<u32>()
        .unwrap()
        + 1;
    assert_eq!(output(&command), format!("zero|a b||1=2|{expected}\n"));
}

#[test]
fn a_program_without_a_slash_is_found_in_the_workers_path() {
    let mut command = Command::new("sh");
    command.argv.extend(["-c".into(), "echo found".into()]);
    command.env.push(("PATH".into(), "/proc/none:/bin".into()));
    assert_eq!(output(&command), "found\n");
    command.env = vec![("PATH".into(), "/proc/none".into())];
    assert_eq!(
        failure(&command),
        (Stage::FindingProgram, Some(libc::ENOENT))
    );
}

#[test]
fn a_relative_program_counts_from_the_working_directory() {
    let dir = tempfile::tempdir().unwrap();
    put_program(&dir.path().join("tool"), "#!/bin/sh\necho relative\n");
    let mut command = Command::new("./tool");
    command.working_dir = Some(dir.path().into());
    assert_eq!(output(&command), "relative\n");
    command.program = "tool".into();
    command.env.push(("PATH".into(), ".".into()));
    assert_eq!(output(&command), "relative\n");
}

/// Written by another process: a file that we have just written may still be open for writing in a child that
/// another test is about to start, and cannot be executed then (`ETXTBSY`).
fn put_program(path: &Path, text: &str) {
    let mut command = script("printf '%s' \"$0\" > \"$1\" && chmod 755 \"$1\"");
    command.argv.extend([text.into(), path.into()]);
    let child = spawn(&command, &[], None).unwrap();
    assert_eq!(testing::wait(&child), ExitStatus::Exited(0));
}

#[test]
fn the_worker_leads_its_own_session() {
    let child = spawn(&script("exec sleep 1000"), &[], None).unwrap();
    let sid = nix::unistd::getsid(Some(child.pid)).unwrap();
    let pgid = nix::unistd::getpgid(Some(child.pid)).unwrap();
    assert_eq!((sid, pgid), (child.pid, child.pid));
    child.pidfd.signal(libc::SIGKILL).unwrap();
    testing::wait(&child);
}

#[test]
fn signals_are_back_to_default_and_none_is_blocked() {
    // Rust ignores SIGPIPE at start, and the threads of tests may inherit more.
    // SAFETY: ignoring SIGUSR2, which nobody sends here.
    let before = unsafe { nix::sys::signal::signal(Signal::SIGUSR2, SigHandler::SigIgn) }.unwrap();
    // SAFETY: a mask of this thread only.
    let mask = nix::sys::signal::SigSet::all()
        .thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_SETMASK)
        .unwrap();
    let lines = status(Command::new("/bin/sh"), "SigBlk|SigIgn|SigCgt|SigPnd");
    mask.thread_set_mask().unwrap();
    // SAFETY: as it was.
    unsafe { nix::sys::signal::signal(Signal::SIGUSR2, before) }.unwrap();
    let zero = "0000000000000000";
    let expected = ["SigPnd", "SigBlk", "SigIgn", "SigCgt"].map(|key| format!("{key}:{zero}"));
    assert_eq!(lines, expected);
}

#[test]
fn our_own_mask_is_as_before() {
    let mask = || nix::sys::signal::SigSet::thread_get_mask().unwrap();
    let before = mask();
    for method in methods() {
        let child = spawn_by(method, &script(""), &[], None).unwrap();
        testing::wait(&child);
        assert_eq!(mask(), before, "{method:?}");
    }
}

#[test]
fn nothing_leaks_and_the_standard_three_are_always_there() {
    // Without close-on-exec, so that only close_range can keep it from the child.
    let ours = File::open("/dev/null").unwrap();
    fcntl(&ours, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let high = fcntl(&ours, FcntlArg::F_DUPFD(500)).unwrap();
    let mut command = Command::new("ls");
    command.argv.push("/proc/self/fd".into());
    command.env.push(("PATH".into(), "/bin:/usr/bin".into()));
    // 3 is the directory that ls reads.
    assert_eq!(output(&command), "0\n1\n2\n3\n");
    assert_eq!(output(&script("readlink /proc/self/fd/0")), "/dev/null\n");
    nix::unistd::close(high).unwrap();
}

/// Gives files with known contents the numbers of `map` (index of the file, number in the child) and
/// reads them back in the child.
fn check_map(method: Method, files: &[OwnedFd], map: &[(usize, RawFd)]) {
    let (read, write) = pipe().unwrap();
    // The child writes its findings to a number that no map uses.
    let mut fds: Vec<(BorrowedFd<'_>, RawFd)> = vec![(write.as_fd(), 99)];
    fds.extend(map.iter().map(|&(file, to)| (files[file].as_fd(), to)));
    let mut sorted = map.to_vec();
    sorted.sort_unstable_by_key(|&(_, to)| to);
    let numbers: String = sorted.iter().map(|(_, to)| format!("{to} ")).collect();
    let text =
        format!("for n in {numbers}; do readlink /proc/self/fd/$n; done >&99; ls /proc/$$/fd >&99");
    // A shell cannot redirect to a number of two digits by itself.
    let mut command = Command::new("bash");
    command.argv = vec!["bash".into(), "-c".into(), text.into()];
    command.env.push(("PATH".into(), "/bin:/usr/bin".into()));
    let child = spawn_by(method, &command, &fds, None).unwrap();
    drop(write);
    let mut found = String::new();
    File::from(read).read_to_string(&mut found).unwrap();
    assert_eq!(testing::wait(&child), ExitStatus::Exited(0), "{found}");
    for (line, (file, to)) in found.lines().zip(&sorted) {
        assert!(
            line.ends_with(&format!("/file{file}")),
            "{method:?} {map:?}: {to} is {line}"
        );
    }
    let open: Vec<&str> = found.lines().skip(sorted.len()).collect();
    let expected = sorted.iter().filter(|(_, to)| *to > 2).count() + 4;
    // Bash holds what it redirects under a number of its own.
    let ours = open
        .iter()
        .filter(|n| n.parse::<i32>().unwrap() < 255)
        .count();
    assert!(ours <= expected + 1, "{method:?} {map:?}: {open:?}");
}

#[test]
fn descriptors_get_their_numbers_however_they_overlap() {
    let dir = tempfile::tempdir().unwrap();
    // Ours are wherever they happen to be; to make them overlap, targets are taken from among them.
    let files: Vec<OwnedFd> = (0..4)
        .map(|n| {
            File::create(dir.path().join(format!("file{n}")))
                .unwrap()
                .into()
        })
        .collect();
    let n: Vec<RawFd> = files.iter().map(AsRawFd::as_raw_fd).collect();
    let maps: [&[(usize, RawFd)]; 8] = [
        &[],
        &[(0, 0), (1, 2), (2, 3)],
        &[(0, n[0]), (1, n[1])],
        &[(0, n[1]), (1, n[0])],
        &[(0, n[1]), (1, n[2]), (2, n[3]), (3, n[0])],
        &[(0, n[1]), (0, n[2]), (0, n[0])],
        &[(3, n[0]), (2, n[3]), (1, 4), (0, 5)],
        &[(1, n[0]), (1, 2), (0, 60)],
    ];
    for method in methods() {
        for map in maps {
            // Small numbers may be among ours by accident.
            let mut targets: Vec<RawFd> = map.iter().map(|(_, to)| *to).collect();
            targets.sort_unstable();
            targets.dedup();
            if targets.len() == map.len() {
                check_map(method, &files, map);
            }
        }
    }
}

#[test]
fn high_numbers_arrive_whether_they_fit_into_the_reserved_places_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let high = |n: usize| {
        let file = File::create(dir.path().join(format!("file{n}"))).unwrap();
        // SAFETY: the number is new, and ours.
        unsafe { OwnedFd::from_raw_fd(fcntl(&file, FcntlArg::F_DUPFD_CLOEXEC(600)).unwrap()) }
    };
    let files: Vec<OwnedFd> = (0..12).map(high).collect();
    reserve().unwrap();
    let few: Vec<(usize, RawFd)> = vec![(0, 0), (1, 7), (1, 8), (2, 3), (2, files[0].as_raw_fd())];
    let many: Vec<(usize, RawFd)> = (0..12).map(|n| (n, 3 + n as RawFd)).collect();
    for method in methods() {
        for _ in 0..2 {
            check_map(method, &files, &few);
            check_map(method, &files, &many);
        }
    }
}

#[test]
fn limits_niceness_umask_and_scores_are_set() {
    let mut command = script(
        "ulimit -Sn; ulimit -Hn; umask; nice; cat /proc/self/oom_score_adj; ionice 2>/dev/null || echo 'idle'",
    );
    command.rlimits = vec![
        (Resource::RLIMIT_NOFILE, 40, 50),
        (Resource::RLIMIT_CORE, 0, 0),
    ];
    command.umask = Some(Mode::from_bits_truncate(0o027));
    command.nice = Some(7);
    command.oom_score_adj = Some(500);
    command.ioprio = Some(Ioprio {
        class: IoClass::Idle,
        level: 0,
    });
    assert_eq!(output(&command), "40\n50\n0027\n7\n500\nidle\n");
}

#[test]
fn a_limit_on_descriptors_does_not_hinder_passing_them() {
    let null = File::open("/dev/null").unwrap();
    let mut command = script("test -e /proc/self/fd/30");
    command.rlimits = vec![(Resource::RLIMIT_NOFILE, 10, 10)];
    for method in methods() {
        let child = spawn_by(method, &command, &[(null.as_fd(), 30)], None).unwrap();
        assert_eq!(testing::wait(&child), ExitStatus::Exited(0), "{method:?}");
    }
}

#[test]
fn user_group_and_groups_are_changed_for_good() {
    if !is_root() {
        return;
    }
    let mut command = Command::new("/bin/sh");
    command.uid = Some(Uid::from_raw(NOBODY));
    command.gid = Some(Gid::from_raw(4242));
    command.groups = Some(vec![Gid::from_raw(4343), Gid::from_raw(4344)]);
    let lines = status(command, "Uid|Gid|Groups|CapEff|CapPrm");
    let zero = "0000000000000000";
    let expected = [
        format!("Uid:{}", "65534".repeat(4)),
        format!("Gid:{}", "4242".repeat(4)),
        "Groups:43434344".to_owned(),
        format!("CapPrm:{zero}"),
        format!("CapEff:{zero}"),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn we_stay_who_we_are_and_can_be_looked_into() {
    let name = "sys::spawn::tests::we_stay_who_we_are_and_can_be_looked_into";
    if !is_root() || !testing::alone(name, Vec::new()) {
        return;
    }
    let mut command = script("");
    command.uid = Some(Uid::from_raw(NOBODY));
    command.gid = Some(Gid::from_raw(NOBODY));
    // SAFETY: takes no argument.
    let dumpable = || unsafe { libc::prctl(libc::PR_GET_DUMPABLE) };
    assert_eq!(dumpable(), 1);
    for method in methods() {
        testing::wait(&spawn_by(method, &command, &[], None).unwrap());
        assert_eq!(dumpable(), 1, "{method:?}");
        assert!(nix::unistd::geteuid().is_root() && nix::unistd::getegid().as_raw() == 0);
    }
}

#[test]
fn the_worker_has_the_capabilities_it_was_given_and_no_others() {
    if !is_root() {
        return;
    }
    let mut command = Command::new("/bin/sh");
    command.capabilities = Some([Capability::CAP_NET_BIND_SERVICE].into_iter().collect());
    let bind = "0000000000000400";
    let keys = "CapInh|CapPrm|CapEff|CapBnd|CapAmb";
    let expected = keys
        .split('|')
        .map(|key| format!("{key}:{bind}"))
        .collect::<Vec<_>>();
    assert_eq!(status(command.clone(), keys), expected);
    command.uid = Some(Uid::from_raw(NOBODY));
    command.no_new_privileges = true;
    assert_eq!(status(command.clone(), keys), expected);
    assert_eq!(status(command.clone(), "NoNewPrivs"), ["NoNewPrivs:1"]);
    command.capabilities = Some(Capabilities::NONE);
    let none = "0000000000000000";
    let expected = keys
        .split('|')
        .map(|key| format!("{key}:{none}"))
        .collect::<Vec<_>>();
    assert_eq!(status(command, keys), expected);
}

#[test]
fn a_worker_is_in_its_cgroup_from_the_first_moment() {
    for method in methods() {
        let Some(group) = group("enter") else { return };
        let (read, write) = pipe().unwrap();
        let command = script("grep ^0:: /proc/self/cgroup");
        let child = spawn_by(method, &command, &[(write.as_fd(), 1)], Some(&group)).unwrap();
        drop(write);
        let mut text = String::new();
        File::from(read).read_to_string(&mut text).unwrap();
        let name = group.path().file_name().unwrap().to_str().unwrap();
        assert!(text.trim_end().ends_with(name), "{method:?}: {text}");
        testing::wait(&child);
        let events = group.events_fd().unwrap();
        assert!(
            events
                .wait(PATIENCE, |state| !state.populated)
                .unwrap()
                .is_some()
        );
        assert_eq!(group.remove().unwrap(), Removal::Done);
    }
}

#[test]
fn many_threads_may_spawn_at_once() {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..50 {
                    if n % 5 == 0 {
                        failure(&Command::new("/proc/none"));
                    } else {
                        let child = spawn(&script("exit 5"), &[], None).unwrap();
                        assert_eq!(testing::wait(&child), ExitStatus::Exited(5));
                    }
                }
            });
        }
    });
}

#[test]
fn input_flows_through_a_passed_pipe() {
    let (read, write) = pipe().unwrap();
    let (out_read, out_write) = pipe().unwrap();
    let fds = [(read.as_fd(), 0), (out_write.as_fd(), 1)];
    let child = spawn(&script("exec cat"), &fds, None).unwrap();
    drop((read, out_write));
    File::from(write).write_all(b"through").unwrap();
    let mut text = String::new();
    File::from(out_read).read_to_string(&mut text).unwrap();
    assert_eq!(text, "through");
    testing::wait(&child);
}

#[test]
fn variables_tell_the_process_its_own_number() {
    for method in methods() {
        let mut command = script("echo $$ $LISTEN_PID $WATCHDOG_PID");
        command.pid_variables = vec!["LISTEN_PID".into(), "WATCHDOG_PID".into()];
        let said = output_by(method, &command);
        let (own, told) = said.trim().split_once(' ').unwrap();
        assert_eq!(told, format!("{own} {own}"), "{method:?}");
    }
}
