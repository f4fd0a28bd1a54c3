//! How Linux is asked: processes, cgroups, descriptors, users, sockets; the only room with `unsafe`.
//!
//! Nothing in here knows a watcher, a configuration key or a line of JSON, and nothing decides: each
//! module offers what the kernel can do in types that cannot be mixed up, and says in its errors what was
//! refused. Nothing logs.
//!
//! In reading order:
//!
//! * [`spawn`]: a process, with all that belongs to it, for the price of a `vfork`;
//! * [`pidfd`]: signalling it and hearing of its end;
//! * [`cgroup`]: where nothing escapes;

pub mod spawn;

pub mod pidfd;

pub mod cgroup;

pub mod caps;

#[cfg(test)]
mod testing;
