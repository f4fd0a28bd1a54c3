//! What the child does between being born and executing.
//!
//! It runs in our memory, on a stack of its own, while the thread that made it waits. So there is nothing
//! here but system calls on what the plan holds: no allocation, no lock, no panic, and none of those libc
//! functions that do more than the call they are named for (setuid(3) changes all threads: here, ours).
//! The only traces it leaves in our memory are `errno`, which nobody reads after a clone, and the plan's own
//! cells.

use std::convert::Infallible;
use std::ffi::{c_int, c_long, c_void};
use std::ptr;

use super::Stage;
use super::plan::{Failure, Move, Plan};

#[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
use libc::{SYS_setgroups, SYS_setresgid, SYS_setresuid};
// There the plain numbers are the calls of old, with ids of 16 bits.
#[cfg(any(target_arch = "x86", target_arch = "arm"))]
use libc::{
    SYS_setgroups32 as SYS_setgroups, SYS_setresgid32 as SYS_setresgid,
    SYS_setresuid32 as SYS_setresuid,
};

/// The size of the kernel's own signal set (not libc's `sigset_t`).
const KERNEL_SIGSET_BYTES: usize = 8;
/// The last signal number there is.
const LAST_SIGNAL: c_int = 64;
/// No capability of today or tomorrow has a higher number (capget(2) takes 64 bits).
const LAST_CAPABILITY: c_int = 63;
/// `_LINUX_CAPABILITY_VERSION_3`.
const CAPABILITY_VERSION: u32 = 0x2008_0522;
const IOPRIO_WHO_PROCESS: c_int = 1;
const EXIT_STATUS: c_int = 127;

/// Where the child begins; does not return.
pub(super) extern "C" fn enter(plan: *mut c_void) -> c_int {
    // SAFETY: the parent gives a `Plan` that it keeps until we have executed or ended, and waits meanwhile.
    let plan = unsafe { &*plan.cast::<Plan>() };
    // SAFETY: we are the child: the plan is ours alone until we end, and errors are looked at at once.
    let Err(failure) = unsafe { run(plan) };
    // SAFETY: the parent, which shares this memory, waits until we have ended.
    unsafe { *plan.failure.get() = Some(failure) };
    loop {
        // SAFETY: ends this process, running nothing that was registered to run at exit.
        unsafe { libc::syscall(libc::SYS_exit_group, EXIT_STATUS) };
    }
}

/// All steps in the one order that works:
///
/// * the cgroup, the OOM score, limits, groups and user while we still have the power to set them;
/// * a descriptor table of its own before anything is opened or changed in it;
/// * the descriptors before a limit on their number comes into force, and after the last file was opened;
/// * the bounding set before the change of user, which takes the power to change it; the other sets after it;
/// * the directory after all of that, so that it is entered with the worker's permissions;
/// * signals come through again only when there is nothing left but to execute.
///
/// # Safety
///
/// To be called only by the process that is to become the worker.
unsafe fn run(plan: &Plan) -> Result<Infallible, Failure> {
    // SAFETY: as ours; every pointer handed on points into the plan.
    unsafe {
        enter_cgroup(plan)?;
        unshare_descriptors(plan)?;
        reset_signals()?;
        check(Stage::StartingSession, libc::syscall(libc::SYS_setsid))?;
        set_scheduling(plan)?;
        pass_descriptors(plan)?;
        set_limits(plan)?;
        narrow_bounding_set(plan)?;
        change_credentials(plan)?;
        set_capabilities(plan)?;
        if plan.no_new_privileges {
            let on = prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0);
            check(Stage::SettingNoNewPrivileges, on)?;
        }
        if let Some(dir) = &plan.working_dir {
            check(
                Stage::ChangingDirectory,
                libc::syscall(libc::SYS_chdir, dir.as_ptr()),
            )?;
        }
        if let Some(mask) = plan.umask {
            libc::syscall(libc::SYS_umask, mask);
        }
        tell_pid(plan);
        unblock_signals()?;
        let (argv, env) = (plan.argv.as_ptr(), plan.env.as_ptr());
        let r = libc::syscall(libc::SYS_execve, plan.program.as_ptr(), argv, env);
        check(Stage::Executing, r)?;
    }
    Err(Failure {
        stage: Stage::Executing,
        errno: libc::EINVAL,
    })
}

/// Turns libc's -1 into the failure of a stage.
fn check(stage: Stage, result: c_long) -> Result<c_long, Failure> {
    if result >= 0 {
        return Ok(result);
    }
    // SAFETY: the address is that of the waiting thread's `errno`, which the call just made has set.
    let errno = unsafe { *libc::__errno_location() };
    Err(Failure { stage, errno })
}

// SAFETY of all below: they are system calls of the child on its own behalf, with pointers into the plan or
// to locals, and numbers as the man page of each call has them.

unsafe fn prctl(option: c_int, first: c_long, second: c_long) -> c_long {
    let zero: c_long = 0;
    // SAFETY: none of the options used here takes a pointer.
    unsafe {
        libc::syscall(
            libc::SYS_prctl,
            c_long::from(option),
            first,
            second,
            zero,
            zero,
        )
    }
}

unsafe fn enter_cgroup(plan: &Plan) -> Result<(), Failure> {
    let Some(procs) = &plan.cgroup_procs else {
        return Ok(());
    };
    let fd = std::os::fd::AsRawFd::as_raw_fd(procs);
    // SAFETY: "0" is whoever writes (cgroups(7)); one byte of a constant.
    let r = unsafe { libc::syscall(libc::SYS_write, fd, b"0".as_ptr(), 1_usize) };
    check(Stage::EnteringCgroup, r).map(drop)
}

/// Until here the table is the parent's own: nothing of it may be changed, whatever fails.
unsafe fn unshare_descriptors(plan: &Plan) -> Result<(), Failure> {
    let Some(last) = plan.descriptors.last_shared else {
        return Ok(());
    };
    // SAFETY: numbers only; the flag makes it our copy that is cut off.
    let r = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            last + 1,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_UNSHARE,
        )
    };
    check(Stage::ClosingDescriptors, r).map(drop)
}

unsafe fn reset_signals() -> Result<(), Failure> {
    // All zero is SIG_DFL without flags in the kernel's own layout, on every architecture.
    let default = [0_u64; 8];
    for signal in 1..=LAST_SIGNAL {
        if signal == libc::SIGKILL || signal == libc::SIGSTOP {
            continue;
        }
        let none: *mut c_void = ptr::null_mut();
        // SAFETY: the kernel reads at most as much as `default` has.
        let r = unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                none,
                KERNEL_SIGSET_BYTES,
            )
        };
        check(Stage::ResettingSignals, r)?;
    }
    Ok(())
}

unsafe fn tell_pid(plan: &Plan) {
    for variable in &plan.pid_variables {
        // SAFETY: takes nothing and cannot fail.
        variable.fill(unsafe { libc::syscall(libc::SYS_getpid) });
    }
}

unsafe fn unblock_signals() -> Result<(), Failure> {
    let nothing = 0_u64;
    let none: *mut c_void = ptr::null_mut();
    // SAFETY: the set is as large as is said.
    let r = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const nothing,
            none,
            KERNEL_SIGSET_BYTES,
        )
    };
    check(Stage::ResettingSignals, r).map(drop)
}

unsafe fn set_scheduling(plan: &Plan) -> Result<(), Failure> {
    if let Some(score) = &plan.oom_score_adj {
        // SAFETY: see the head of this group.
        unsafe { write_file(c"/proc/self/oom_score_adj", score, Stage::SettingOomScore)? };
    }
    if let Some(nice) = plan.nice {
        // SAFETY: numbers only.
        let r = unsafe { libc::syscall(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, nice) };
        check(Stage::SettingNice, r)?;
    }
    if let Some(ioprio) = plan.ioprio {
        // SAFETY: numbers only.
        let r = unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, ioprio) };
        check(Stage::SettingIoprio, r)?;
    }
    Ok(())
}

unsafe fn write_file(
    path: &std::ffi::CStr,
    text: &std::ffi::CStr,
    stage: Stage,
) -> Result<(), Failure> {
    let flags = libc::O_WRONLY | libc::O_CLOEXEC;
    // SAFETY: both strings end; the descriptor is closed by close_range at the latest.
    unsafe {
        let fd = libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags, 0);
        let fd = check(stage, fd)?;
        let written = libc::syscall(libc::SYS_write, fd, text.as_ptr(), text.count_bytes());
        let result = check(stage, written).map(drop);
        libc::syscall(libc::SYS_close, fd);
        result
    }
}

unsafe fn pass_descriptors(plan: &Plan) -> Result<(), Failure> {
    const STAGE: Stage = Stage::PassingDescriptors;
    let map = &plan.descriptors;
    // SAFETY: the child alone uses the plan now; the numbers are those of open descriptors of ours.
    unsafe {
        let moves: &mut [Move] = &mut *map.moves.get();
        for one in moves.iter_mut().filter(|one| one.copy_first) {
            let copy = libc::syscall(libc::SYS_fcntl, one.from, libc::F_DUPFD_CLOEXEC, map.above);
            // The kernel's descriptors are ints.
            one.from = check(STAGE, copy)? as c_int;
        }
        for one in moves.iter() {
            let r = if one.from == one.to {
                libc::syscall(libc::SYS_fcntl, one.to, libc::F_SETFD, 0)
            } else {
                libc::syscall(libc::SYS_dup3, one.from, one.to, 0)
            };
            check(STAGE, r)?;
        }
        for &(first, last) in &map.closed {
            let r = libc::syscall(libc::SYS_close_range, first, last, 0);
            check(Stage::ClosingDescriptors, r)?;
        }
    }
    Ok(())
}

unsafe fn set_limits(plan: &Plan) -> Result<(), Failure> {
    let none: *mut c_void = ptr::null_mut();
    for (resource, limit) in &plan.rlimits {
        // SAFETY: the limit is in the plan, and the old one is not asked for.
        let r = unsafe {
            libc::syscall(
                libc::SYS_prlimit64,
                0,
                *resource as c_int,
                ptr::from_ref(limit),
                none,
            )
        };
        check(Stage::SettingLimit(*resource), r)?;
    }
    Ok(())
}

unsafe fn narrow_bounding_set(plan: &Plan) -> Result<(), Failure> {
    let Some(wanted) = plan.capabilities else {
        return Ok(());
    };
    for capability in 0..=LAST_CAPABILITY {
        // SAFETY: numbers only.
        let has = unsafe { prctl(libc::PR_CAPBSET_READ, capability.into(), 0) };
        // The kernel does not know it (EINVAL), nor any above it.
        if has < 0 {
            break;
        }
        // It is gone already: dropping it would still need a power that an unprivileged daemon has not.
        if has == 0 || wanted & (1 << capability) != 0 {
            continue;
        }
        // SAFETY: numbers only.
        let r = unsafe { prctl(libc::PR_CAPBSET_DROP, capability.into(), 0) };
        check(Stage::SettingCapabilities, r)?;
    }
    Ok(())
}

unsafe fn change_credentials(plan: &Plan) -> Result<(), Failure> {
    // SAFETY: numbers and the list of groups in the plan.
    unsafe {
        if let Some(groups) = &plan.groups {
            let r = libc::syscall(SYS_setgroups, groups.len(), groups.as_ptr());
            check(Stage::ChangingGroups, r)?;
        }
        if let Some(gid) = plan.gid {
            check(
                Stage::ChangingGroup,
                libc::syscall(SYS_setresgid, gid, gid, gid),
            )?;
        }
        if let Some(uid) = plan.uid {
            if plan.capabilities.is_some() {
                // Else the change from root empties the permitted set that the worker's come from.
                check(
                    Stage::SettingCapabilities,
                    prctl(libc::PR_SET_KEEPCAPS, 1, 0),
                )?;
            }
            check(
                Stage::ChangingUser,
                libc::syscall(SYS_setresuid, uid, uid, uid),
            )?;
        }
    }
    Ok(())
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: c_int,
}

#[repr(C)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Gives the worker exactly these capabilities; the ambient set is what survives execve(2) (capabilities(7)).
unsafe fn set_capabilities(plan: &Plan) -> Result<(), Failure> {
    let Some(wanted) = plan.capabilities else {
        return Ok(());
    };
    let header = CapabilityHeader {
        version: CAPABILITY_VERSION,
        pid: 0,
    };
    let half = |bits: u64| {
        let bits = bits as u32;
        CapabilityData {
            effective: bits,
            permitted: bits,
            inheritable: bits,
        }
    };
    let data = [half(wanted), half(wanted >> 32)];
    // SAFETY: version 3 takes one header and two data structures.
    unsafe {
        let r = libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr());
        check(Stage::SettingCapabilities, r)?;
        let clear = c_long::from(libc::PR_CAP_AMBIENT_CLEAR_ALL);
        check(
            Stage::SettingCapabilities,
            prctl(libc::PR_CAP_AMBIENT, clear, 0),
        )?;
        for capability in (0..=LAST_CAPABILITY).filter(|n| wanted & (1 << n) != 0) {
            let raise = c_long::from(libc::PR_CAP_AMBIENT_RAISE);
            let r = prctl(libc::PR_CAP_AMBIENT, raise, capability.into());
            check(Stage::SettingCapabilities, r)?;
        }
    }
    Ok(())
}
