//! Makes the process, by the best means the machine allows.
//!
//! Three ways that differ in how the child comes into its cgroup and in which call makes it; the child's own
//! work and the way its failure comes back are the same for all. Only this file knows which one was taken.

use std::arch::asm;
use std::cell::RefCell;
use std::ffi::{c_int, c_long, c_void};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::OnceLock;

use nix::unistd::Pid;

use super::plan::Plan;
use super::{Child, Stage, child};
use crate::sys::cgroup::Cgroup;
use crate::sys::pidfd::Pidfd;

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// How processes are made here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `clone3`, and the child is born in its cgroup.
    Clone3IntoCgroup,
    /// `clone3`, and the child moves itself into its cgroup.
    Clone3,
    /// `clone`, because `clone3` is refused (containers' seccomp filters do that) or its calling convention is
    /// not written down here for this architecture.
    Clone,
}

/// The method for this machine, found out at the first call.
pub fn method() -> Method {
    static METHOD: OnceLock<Method> = OnceLock::new();
    *METHOD.get_or_init(find_method)
}

fn find_method() -> Method {
    if !HAS_CLONE3 {
        return Method::Clone;
    }
    // The argument is wrong on purpose, so that nothing is made: a kernel that knows the call and the
    // flag gets as far as looking up the descriptor.
    let args = CloneArgs {
        flags: CLONE_INTO_CGROUP,
        exit_signal: libc::SIGCHLD as u64,
        cgroup: i32::MAX as u64,
        ..CloneArgs::default()
    };
    match clone3_that_fails(&args) {
        libc::EBADF => Method::Clone3IntoCgroup,
        libc::ENOSYS | libc::EPERM => Method::Clone,
        _ => Method::Clone3,
    }
}

/// The kernel's `struct clone_args`, version 2 (Linux 5.7).
#[derive(Default)]
#[repr(C)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Calls `clone3` with arguments that must be refused; gives the errno.
fn clone3_that_fails(args: &CloneArgs) -> c_int {
    // SAFETY: the kernel only reads `args`. Without CLONE_VM a child, were there one, would run on a copy of
    // our memory, and it ends at once.
    let r = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            ptr::from_ref(args),
            size_of::<CloneArgs>(),
        )
    };
    if r == 0 {
        // SAFETY: ends the child.
        unsafe { libc::_exit(1) };
    }
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Runs `plan` in a new process, and returns when that executes.
pub(super) fn run(
    method: Method,
    plan: &Plan,
    cgroup: Option<&Cgroup>,
) -> Result<Child, (Stage, io::Error)> {
    let (pid, pidfd) = {
        let _blocked = SignalsBlocked::new();
        let _dumpable = plan.changes_credentials().then(Dumpable::keep);
        STACK.with_borrow_mut(|stack| {
            let stack = match stack {
                Some(stack) => stack,
                None => stack.insert(Stack::new()?),
            };
            match method {
                Method::Clone3IntoCgroup => clone3(stack, plan, cgroup),
                Method::Clone3 => clone3(stack, plan, None),
                Method::Clone => clone(stack, plan),
            }
        })
    }
    .map_err(|error| (stage_of(&error, cgroup), error))?;
    let pid = Pid::from_raw(pid);
    // SAFETY: the child has executed or ended, so nobody writes there any more.
    match unsafe { *plan.failure.get() } {
        None => Ok(Child { pid, pidfd }),
        Some(failure) => {
            bury(&pidfd);
            Err((failure.stage, io::Error::from_raw_os_error(failure.errno)))
        }
    }
}

/// What a refused clone means. Of its errors these three are about processes as such; all others can only be
/// about the one argument that varies.
fn stage_of(error: &io::Error, cgroup: Option<&Cgroup>) -> Stage {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE) => Stage::CreatingProcess,
        _ if cgroup.is_some() => Stage::EnteringCgroup,
        _ => Stage::CreatingProcess,
    }
}

/// Waits for a child that has failed and is ending, so that no zombie is left.
fn bury(pidfd: &Pidfd) {
    loop {
        match pidfd.wait() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // ECHILD: somebody ignores SIGCHLD, and the kernel has buried it.
            Ok(_) | Err(_) => return,
        }
    }
}

fn flags(plan: &Plan) -> c_int {
    let always = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD;
    match plan.descriptors.last_shared {
        Some(_) => always | libc::CLONE_FILES,
        None => always,
    }
}

fn clone3(stack: &Stack, plan: &Plan, cgroup: Option<&Cgroup>) -> io::Result<(libc::pid_t, Pidfd)> {
    let mut pidfd: c_int = -1;
    let mut args = CloneArgs {
        flags: flags(plan) as u64,
        pidfd: ptr::from_mut(&mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        stack: stack.bottom() as u64,
        stack_size: Stack::SIZE as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: the stack is ours, unused and large enough for `child::enter`, which never returns; CLONE_VFORK
    // keeps us here, and with us all that `args` and `plan` point to, until the child has executed or ended.
    let r = unsafe { raw_clone3(&args, ptr::from_ref(plan).cast_mut().cast()) };
    if r < 0 {
        return Err(io::Error::from_raw_os_error(-r as i32));
    }
    // SAFETY: the kernel has put a new descriptor there, which nobody else knows.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok((r as libc::pid_t, pidfd.into()))
}

fn clone(stack: &Stack, plan: &Plan) -> io::Result<(libc::pid_t, Pidfd)> {
    let mut pidfd: c_int = -1;
    let flags = flags(plan) | libc::SIGCHLD;
    let argument: *mut c_void = ptr::from_ref(plan).cast_mut().cast();
    // SAFETY: as for clone3; libc's clone takes the top of the stack, and with CLONE_PIDFD the kernel writes
    // the descriptor where `parent_tid` points.
    let pid = unsafe { libc::clone(child::enter, stack.top(), flags, argument, &raw mut pidfd) };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: see clone3.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok((pid, pidfd.into()))
}

/// Whether [`raw_clone3`] is written for this architecture.
const HAS_CLONE3: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

// libc has no wrapper for clone3, and syscall(3) cannot be used with a new stack: the child would return from
// it into nothing. So the call is made here, and the child goes on with `child::enter(plan)`.

/// The pid, or a negative errno.
///
/// # Safety
///
/// `args` must name a stack for the child's use alone, and CLONE_VFORK; `plan` must be what
/// [`child::enter`] takes.
#[cfg(target_arch = "x86_64")]
unsafe fn raw_clone3(args: &CloneArgs, plan: *mut c_void) -> c_long {
    let result: c_long;
    // SAFETY: the caller's promise; the child never comes out of this block. Its stack begins aligned to 16
    // bytes, as the call that pushes the return address wants it.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") ptr::from_ref(args),
            in("rsi") size_of::<CloneArgs>(),
            in("r12") plan,
            in("r13") child::enter as extern "C" fn(*mut c_void) -> c_int,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

/// The pid, or a negative errno.
///
/// # Safety
///
/// As for x86_64.
#[cfg(target_arch = "aarch64")]
unsafe fn raw_clone3(args: &CloneArgs, plan: *mut c_void) -> c_long {
    let result: c_long;
    // SAFETY: the caller's promise; the child never comes out of this block.
    unsafe {
        asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x30, xzr",
            "mov x0, x20",
            "blr x21",
            "brk #1",
            "2:",
            in("x8") libc::SYS_clone3,
            inlateout("x0") ptr::from_ref(args) => result,
            in("x1") size_of::<CloneArgs>(),
            in("x20") plan,
            in("x21") child::enter as extern "C" fn(*mut c_void) -> c_int,
        );
    }
    result
}

/// Never called: [`method`] does not choose it here.
///
/// # Safety
///
/// None needed.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn raw_clone3(_args: &CloneArgs, _plan: *mut c_void) -> c_long {
    -c_long::from(libc::ENOSYS)
}

thread_local! {
    // One for each thread that spawns (the daemon has one), so that no lock is needed: its thread waits as long
    // as the child uses it.
    static STACK: RefCell<Option<Stack>> = const { RefCell::new(None) };
}

/// Memory for the child's stack, with a page below it that ends the child when it is touched.
struct Stack {
    mapping: *mut c_void,
}

impl Stack {
    const GUARD: usize = 64 * 1024;
    const SIZE: usize = 64 * 1024;

    fn new() -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let mapping = unsafe {
            libc::mmap(
                ptr::null_mut(),
                Self::GUARD + Self::SIZE,
                protection,
                flags,
                -1,
                0,
            )
        };
        if mapping == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let stack = Self { mapping };
        // SAFETY: the beginning of our own mapping; 64 KiB is a multiple of every page size.
        if unsafe { libc::mprotect(mapping, Self::GUARD, libc::PROT_NONE) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(stack)
    }

    fn bottom(&self) -> *mut c_void {
        self.mapping.wrapping_byte_add(Self::GUARD)
    }

    fn top(&self) -> *mut c_void {
        self.bottom().wrapping_byte_add(Self::SIZE)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and no child is using it: its thread, this one, would be waiting.
        unsafe { libc::munmap(self.mapping, Self::GUARD + Self::SIZE) };
    }
}

/// All signals are blocked in this thread while this lives.
///
/// By the system call itself: libc leaves out the signals that it uses internally, and a handler of those must
/// not run in the child, on our memory, either.
struct SignalsBlocked {
    before: u64,
}

impl SignalsBlocked {
    fn new() -> Self {
        Self {
            before: swap_mask(u64::MAX),
        }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        swap_mask(self.before);
    }
}

fn swap_mask(mask: u64) -> u64 {
    let mut before = 0_u64;
    // SAFETY: both sets are of the size that is said; it cannot fail with these arguments.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            &raw mut before,
            size_of::<u64>(),
        );
    }
    before
}

/// Puts back whether we may be looked into.
///
/// A change of user makes the memory it happens in "not dumpable" (prctl(2)), which is what protects it
/// from the worker's user until it executes. But the memory is ours, and /proc/self would stay closed to an
/// unprivileged daemon.
struct Dumpable {
    before: c_int,
}

impl Dumpable {
    fn keep() -> Self {
        // SAFETY: takes no argument and cannot fail.
        let before = unsafe { libc::prctl(libc::PR_GET_DUMPABLE) };
        Self { before }
    }
}

impl Drop for Dumpable {
    fn drop(&mut self) {
        // 2 ("as root only") cannot be set, and need not be: it is what a change of user may have left already.
        if self.before == 1 {
            // SAFETY: a number only.
            unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has the kernel refuse clone3 in this thread, as the filters of containers do.
    fn refuse_clone3(errno: c_int) {
        let code = |bits: u32| bits as u16;
        let step = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
        let load = code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS);
        let equal = code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K);
        let answer = code(libc::BPF_RET | libc::BPF_K);
        let refusal = libc::SECCOMP_RET_ERRNO | errno as u32;
        let mut filter = [
            // The number of the call is the first of `struct seccomp_data`.
            step(load, 0, 0, 0),
            step(equal, libc::SYS_clone3 as u32, 0, 1),
            step(answer, refusal, 0, 0),
            step(answer, libc::SECCOMP_RET_ALLOW, 0, 0),
        ];
        let program = libc::sock_fprog {
            len: filter.len() as u16,
            filter: filter.as_mut_ptr(),
        };
        // SAFETY: the kernel copies the filter, which is as long as is said; both calls are this thread's.
        unsafe {
            assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
            let mode = libc::SECCOMP_MODE_FILTER;
            assert_eq!(
                libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program),
                0
            );
        }
    }

    #[test]
    fn where_clone3_is_refused_clone_is_taken() {
        for errno in [libc::ENOSYS, libc::EPERM] {
            let refused = std::thread::spawn(move || {
                refuse_clone3(errno);
                find_method()
            });
            assert_eq!(refused.join().unwrap(), Method::Clone, "{errno}");
        }
    }

    #[test]
    fn trying_leaves_no_process_behind() {
        let children = || std::fs::read_to_string("/proc/thread-self/children").unwrap();
        let before = children();
        eprintln!("measured: processes are made by {:?}", find_method());
        assert_eq!(children(), before);
    }
}
