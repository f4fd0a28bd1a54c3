//! Controllers and limits: what the groups below a group may be held to, and what one is held to.
//!
//! Knows the kernel's files and their defaults, not who is limited or why; and keeps no record of what was
//! written. Source: the kernel's `admin-guide/cgroup-v2.rst`.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use nix::fcntl::OFlag;
use nix::unistd::Pid;

use super::Cgroup;

/// A part of the kernel that can hold a group to a limit.
///
/// A group has the controllers that the group above hands down to it. One that hands any of these down may
/// hold no processes itself ("no internal processes"): with some controllers the kernel refuses it, with others
/// the groups below could not be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Controller {
    /// Processor time.
    Cpu,
    /// Block devices.
    Io,
    /// Memory and swap.
    Memory,
    /// How many processes and threads.
    Pids,
}

impl Controller {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Io, Self::Memory, Self::Pids];

    /// The kernel's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Io => "io",
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }
}

impl std::fmt::Display for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How much processor time a group gets: `quota_usec` in each `period_usec`, all processors together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuMax {
    /// At least 1000; `None` is no limit.
    pub quota_usec: Option<u64>,
    /// 1000 to 1000000.
    pub period_usec: u64,
}

/// What a group is held to. `None` is the kernel's default, which is no limit, or the weight of everybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Its share of the processors against that of its siblings, 1 to 10000; the default is 100.
    pub cpu_weight: Option<u32>,
    /// The most processor time.
    pub cpu_max: Option<CpuMax>,
    /// Its share of the disks against that of its siblings, 1 to 10000; the default is 100.
    pub io_weight: Option<u32>,
    /// Bytes above which it is slowed down and its memory reclaimed; `u64::MAX` is no limit.
    pub memory_high: Option<u64>,
    /// Bytes it never has more of: what cannot be reclaimed ends in a kill. `u64::MAX` is no limit.
    pub memory_max: Option<u64>,
    /// Bytes of swap it never has more of; `u64::MAX` is no limit.
    pub memory_swap_max: Option<u64>,
    /// Whether a want of memory that kills one of its processes kills all of them.
    pub oom_group: bool,
    /// How many processes and threads there may be; `u64::MAX` is no limit.
    pub pids_max: Option<u64>,
}

/// One of [`Limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// [`Limits::cpu_weight`].
    CpuWeight,
    /// [`Limits::cpu_max`].
    CpuMax,
    /// [`Limits::io_weight`].
    IoWeight,
    /// [`Limits::memory_high`].
    MemoryHigh,
    /// [`Limits::memory_max`].
    MemoryMax,
    /// [`Limits::memory_swap_max`].
    MemorySwapMax,
    /// [`Limits::oom_group`].
    OomGroup,
    /// [`Limits::pids_max`].
    PidsMax,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::CpuWeight,
        Self::CpuMax,
        Self::IoWeight,
        Self::MemoryHigh,
        Self::MemoryMax,
        Self::MemorySwapMax,
        Self::OomGroup,
        Self::PidsMax,
    ];

    /// Which controller a group needs for it.
    #[must_use]
    pub const fn controller(self) -> Controller {
        match self {
            Self::CpuWeight | Self::CpuMax => Controller::Cpu,
            Self::IoWeight => Controller::Io,
            Self::MemoryHigh | Self::MemoryMax | Self::MemorySwapMax | Self::OomGroup => {
                Controller::Memory
            }
            Self::PidsMax => Controller::Pids,
        }
    }

    /// The kernel's file, and what stands for its default there.
    const fn file(self) -> (&'static str, &'static str) {
        match self {
            Self::CpuWeight => ("cpu.weight", "100"),
            Self::CpuMax => ("cpu.max", "max 100000"),
            Self::IoWeight => ("io.weight", "default 100"),
            Self::MemoryHigh => ("memory.high", "max"),
            Self::MemoryMax => ("memory.max", "max"),
            Self::MemorySwapMax => ("memory.swap.max", "max"),
            Self::OomGroup => ("memory.oom.group", "0"),
            Self::PidsMax => ("pids.max", "max"),
        }
    }
}

impl Limits {
    /// Whether it differs from the default.
    #[must_use]
    pub fn has(&self, limit: Limit) -> bool {
        self.text(limit).is_some()
    }

    /// Whether both say the same of it.
    #[must_use]
    pub fn agree(&self, other: &Self, limit: Limit) -> bool {
        self.text(limit) == other.text(limit)
    }

    /// The same without this one.
    #[must_use]
    pub fn without(mut self, limit: Limit) -> Self {
        match limit {
            Limit::CpuWeight => self.cpu_weight = None,
            Limit::CpuMax => self.cpu_max = None,
            Limit::IoWeight => self.io_weight = None,
            Limit::MemoryHigh => self.memory_high = None,
            Limit::MemoryMax => self.memory_max = None,
            Limit::MemorySwapMax => self.memory_swap_max = None,
            Limit::OomGroup => self.oom_group = false,
            Limit::PidsMax => self.pids_max = None,
        }
        self
    }

    /// As the kernel reads it; `None` for its default.
    fn text(&self, limit: Limit) -> Option<String> {
        let number = |number: Option<u64>| {
            number.map(|number| match number {
                u64::MAX => "max".to_owned(),
                number => number.to_string(),
            })
        };
        match limit {
            Limit::CpuWeight => self.cpu_weight.map(|weight| weight.to_string()),
            Limit::CpuMax => self.cpu_max.map(|max| {
                let quota = max
                    .quota_usec
                    .map_or("max".into(), |quota| quota.to_string());
                format!("{quota} {}", max.period_usec)
            }),
            Limit::IoWeight => self.io_weight.map(|weight| format!("default {weight}")),
            Limit::MemoryHigh => number(self.memory_high),
            Limit::MemoryMax => number(self.memory_max),
            Limit::MemorySwapMax => number(self.memory_swap_max),
            Limit::OomGroup => self.oom_group.then(|| "1".to_owned()),
            Limit::PidsMax => number(self.pids_max),
        }
    }
}

/// The kernel does not take a limit.
#[derive(Debug, thiserror::Error)]
#[error("writing '{text}' to '{}'", file.display())]
pub struct LimitError {
    /// Of the group.
    pub file: PathBuf,
    /// What it was to hold.
    pub text: String,
    /// What the kernel said: `ENOENT` if it has no such limit, or the group not its controller.
    #[source]
    pub source: io::Error,
}

impl Cgroup {
    /// The controllers that the group has, and may hand down.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the group has been removed.
    pub fn controllers(&self) -> io::Result<BTreeSet<Controller>> {
        Ok(parse_controllers(&self.read("cgroup.controllers")?))
    }

    /// The controllers that the groups directly below have.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the group has been removed.
    pub fn handed_down(&self) -> io::Result<BTreeSet<Controller>> {
        Ok(parse_controllers(&self.read("cgroup.subtree_control")?))
    }

    /// Hands a controller down to all groups directly below. To do so twice is no error.
    ///
    /// The caller sees to it that no process is in the group itself: see [`Controller`].
    ///
    /// # Errors
    ///
    /// `ENOENT` if the group does not have it; `EBUSY` if processes are in the group; `EOPNOTSUPP` if it is
    /// threaded.
    pub fn hand_down(&self, controller: Controller) -> io::Result<()> {
        self.write("cgroup.subtree_control", &format!("+{controller}"))
    }

    /// No longer hands a controller down.
    ///
    /// # Errors
    ///
    /// `EBUSY` if a group below hands it down in its turn.
    pub fn take_back(&self, controller: Controller) -> io::Result<()> {
        self.write("cgroup.subtree_control", &format!("-{controller}"))
    }

    /// Moves us, with all our threads, into the group.
    ///
    /// # Errors
    ///
    /// `EBUSY` if it hands controllers down; `EACCES` without permission for both groups and the one above them.
    pub fn enter(&self) -> io::Result<()> {
        self.write("cgroup.procs", "0")
    }

    /// The processes in the group itself, not those below. One that cannot be seen from here has pid 0.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the group has been removed; `EOPNOTSUPP` if it is threaded.
    pub fn own_procs(&self) -> io::Result<Vec<Pid>> {
        let text = self.read("cgroup.procs")?;
        let pids = text.lines().filter_map(|line| line.parse().ok());
        Ok(pids.map(Pid::from_raw).collect())
    }

    /// Holds the group to one of `limits`, or to the default if they do not have it.
    ///
    /// A limit of memory below what the group has already does not wait until that is reclaimed (from
    /// Linux 6.16; before, the kernel reclaims it in our name): who allocates next does that.
    ///
    /// # Errors
    ///
    /// [`LimitError`]. A default that cannot be written because the kernel has no such file holds anyway.
    pub fn limit(&self, limit: Limit, limits: &Limits) -> Result<(), LimitError> {
        let (file, default) = limit.file();
        let wanted = limits.text(limit);
        let text = wanted.as_deref().unwrap_or(default);
        match self.write_with(file, text, OFlag::O_NONBLOCK) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && wanted.is_none() => Ok(()),
            Err(source) => Err(LimitError {
                file: self.path().join(file),
                text: text.to_owned(),
                source,
            }),
            Ok(()) => Ok(()),
        }
    }
}

fn parse_controllers(text: &str) -> BTreeSet<Controller> {
    let known = |word| {
        Controller::ALL
            .into_iter()
            .find(|controller| controller.as_str() == word)
    };
    text.split_whitespace().filter_map(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::group;

    const ALL: Limits = Limits {
        cpu_weight: Some(50),
        cpu_max: Some(CpuMax {
            quota_usec: Some(150_000),
            period_usec: 100_000,
        }),
        io_weight: Some(7),
        memory_high: Some(1 << 20),
        memory_max: Some(u64::MAX),
        memory_swap_max: Some(0),
        oom_group: true,
        pids_max: Some(9),
    };

    #[test]
    fn limits_are_written_as_the_kernel_reads_them() {
        let texts = Limit::ALL.map(|limit| ALL.text(limit).unwrap());
        let expected = [
            "50",
            "150000 100000",
            "default 7",
            "1048576",
            "max",
            "0",
            "1",
            "9",
        ];
        assert_eq!(texts, expected);
        let endless = CpuMax {
            quota_usec: None,
            period_usec: 5000,
        };
        let limits = Limits {
            cpu_max: Some(endless),
            ..Limits::default()
        };
        assert_eq!(limits.text(Limit::CpuMax).unwrap(), "max 5000");
    }

    #[test]
    fn each_limit_can_be_left_out_by_itself() {
        for limit in Limit::ALL {
            let without = ALL.without(limit);
            for other in Limit::ALL {
                assert_eq!(without.has(other), other != limit, "{limit:?} {other:?}");
                assert_eq!(without.agree(&ALL, other), other != limit);
                assert!(!Limits::default().has(other));
            }
        }
    }

    #[test]
    fn controllers_that_we_do_not_know_are_not_counted() {
        let known = parse_controllers("cpuset cpu io memory hugetlb pids rdma misc\n");
        assert_eq!(known, Controller::ALL.into());
        assert!(parse_controllers("\n").is_empty());
    }

    /// What the kernel takes is tried where the tests' own group has controllers, what it refuses elsewhere.
    #[test]
    fn a_limit_needs_its_controller_and_a_default_does_not() {
        let Some(group) = group("limits") else { return };
        let has = group.controllers().unwrap();
        for limit in Limit::ALL {
            group.limit(limit, &Limits::default()).unwrap();
            let result = group.limit(limit, &ALL);
            if has.contains(&limit.controller()) {
                // Which of them there are depends on how the kernel was built.
                result.or_else(|error| missing_file(&error)).unwrap();
                continue;
            }
            let error = result.unwrap_err();
            let (file, _) = limit.file();
            let told = error.to_string();
            assert!(told.ends_with(&format!("/{file}'")), "{told}");
            missing_file(&error).unwrap();
        }
        group.remove().unwrap();
    }

    fn missing_file(error: &LimitError) -> Result<(), String> {
        match error.source.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(format!("{error}: {}", error.source)),
        }
    }

    #[test]
    fn a_controller_that_a_group_lacks_cannot_be_handed_down() {
        let Some(group) = group("lacking") else {
            return;
        };
        let has = group.controllers().unwrap();
        for controller in Controller::ALL {
            let handed = group.hand_down(controller);
            if has.contains(&controller) {
                handed.unwrap();
                assert!(group.handed_down().unwrap().contains(&controller));
                group.take_back(controller).unwrap();
            } else {
                let error = handed.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
            }
            assert!(!group.handed_down().unwrap().contains(&controller));
        }
        group.remove().unwrap();
    }
}
