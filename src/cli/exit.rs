//! How `circusctl` ends: the one list of exit codes.
//!
//! Not here: when each of them happens; see [`super::failure`].

/// The exit code of `circusctl`, for scripts to branch on.
///
/// Whoever interrupts `circusctl` with Ctrl-C lets it die of SIGINT, which a shell reports as 130;
/// what the daemon was asked to do goes on. A reader that closes the pipe early is no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The command has done its work.
    Success = 0,
    /// The daemon, or with `--host` the other machine, cannot be reached, or the connection broke before
    /// it had answered.
    Unreachable = 1,
    /// The command line is wrong; nothing was sent.
    Usage = 2,
    /// The daemon refused, or what it tried has failed.
    Refused = 3,
    /// `--timeout` is over. What the daemon was asked to do goes on.
    TimedOut = 4,
    /// `validate` found errors in the configuration (`EX_CONFIG` of sysexits.h).
    WrongConfig = 78,
}

impl Exit {
    /// Every code, with the sentence the manual page says about it.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Success, "The command has done its work."),
        (
            Self::Unreachable,
            "The daemon, or with --host the other machine, cannot be reached, or the connection \
                broke before it had answered.",
        ),
        (
            Self::Usage,
            "The command line is wrong; nothing was sent to the daemon.",
        ),
        (
            Self::Refused,
            "The daemon refused, or what it tried has failed.",
        ),
        (
            Self::TimedOut,
            "The time given with --timeout is over; what the daemon was asked to do goes on.",
        ),
        (
            Self::WrongConfig,
            "Only from validate: the configuration has errors.",
        ),
    ];

    /// The one with this number.
    pub(super) fn from_code(code: i32) -> Option<Self> {
        let all = Self::ALL.into_iter().map(|(exit, _)| exit);
        all.into_iter().find(|exit| i32::from(exit.code()) == code)
    }

    /// The number that the shell sees.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
