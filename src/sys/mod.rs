//! How Linux is asked: processes, cgroups, descriptors, users, sockets; the only room with `unsafe`.
//!
//! Nothing in here knows a watcher, a configuration key or a line of JSON, and nothing decides: each
//! module offers what the kernel can do in types that cannot be mixed up, and says in its errors what was
//! refused. Nothing logs. A thing that this machine lacks is told by [`abilities::probe`], not found out by
//! its users one at a time.
//!
//! In reading order:
//!
//! * [`spawn`]: a process, with all that belongs to it, for the price of a `vfork`;
//! * [`pidfd`]: signalling it and hearing of its end;
//! * [`cgroup`]: where nothing escapes; [`tree`]: what is left without one;
//! * [`epoll`]: one set for all pidfds and cgroups; [`inotify`]: a file that comes into being, or changes;
//! * [`process`], [`stats`]: what /proc tells;
//! * [`users`], [`caps`], [`limits`]: who may do what, and how much;
//! * [`socket`], [`lock`], [`journal`]: the daemon's own ends, and the sockets of workers; [`manager`]: what
//!   systemd has opened for us; [`notify`]: what workers tell us;
//! * [`abilities`]: what this machine and this user allow.

pub mod spawn;

pub mod pidfd;

pub mod cgroup;
pub mod tree;

pub mod epoll;
pub mod inotify;

pub mod process;
pub mod reexec;
pub mod stats;

pub mod caps;
pub mod limits;
pub mod users;

pub mod journal;
pub mod lock;
pub mod manager;
pub mod memory;
pub mod notify;
pub mod pipe;
pub mod socket;

pub mod abilities;

#[cfg(test)]
mod testing;
