//! Names that are never used twice.

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u64);
    };
}

id! {
    /// A process that was, is or is about to be. Never a pid: pids come back.
    WorkerId
}
id! {
    /// A request, named by whoever made it.
    RequestId
}
id! {
    /// One call of a hook.
    HookId
}
id! {
    /// One signal on its way.
    SignalId
}
