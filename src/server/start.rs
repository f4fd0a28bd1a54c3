//! From a configuration to a running daemon, and to its exit code.

use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Pid};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR2, SIGXFSZ};
use signal_hook_tokio::Signals;
use tokio::net::UnixListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::LocalSet;

use super::adopt::{self, Written};
use super::clock::Clock;
use super::connection::{Ask, Connection, Shared, turn_away};
use super::descriptors::Budget;
use super::driver::{self, Driver, Ended};
use super::events::SharedLog;
use super::examine::Examiner;
use super::homes::{self, Homes, clear_previous, count_previous};
use super::hooks::{Closures, Ground, Hooks};
use super::leave::Leaving;
use super::notify::Manager;
use super::options::{ExitCode, Options};
use super::orders::{Orders, Standing};
use super::powers;
use super::program::{self, Surroundings};
use super::recipes::Recipes;
use super::sockets::Sockets;
use super::state::{self, Left, Past, Records, State};
use super::strays;
use super::streams::{Fifos, Loggers, Streams};
use super::turns::Turns;
use super::vigil::Vigil;
use super::workers::{Handed, Workers};
use super::{access, convert, journal};
use crate::config::{self, Circusd, Errors, Identity, LogTarget, SocketPath, Store};
use crate::core::ExitReason;
use crate::sys::manager::{self, Passed};
use crate::sys::socket::{self, Address, Listening};
use crate::sys::{abilities, caps, limits, reexec, spawn, users};

/// How long nobody is accepted after the table of descriptors was found full, and not even the
/// reserve helped.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long the end of the daemon waits for clients to take their last answers.
pub(super) const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// How many clients may wait to be accepted; the kernel has its own upper bound.
const BACKLOG: i32 = 4096;

/// Runs a daemon in the foreground until it has ended. The process is the daemon's alone: where there
/// are no cgroups, children that nobody knows are ended with it. What keeps it from running is told to
/// `complain`, one sentence or list of errors at a time.
pub fn run(options: Options, complain: impl Fn(&str)) -> ExitCode {
    let store = match Store::load(options.sources) {
        Ok(store) => store,
        Err(errors) => {
            complain(&errors.to_string());
            return ExitCode::Config;
        }
    };
    match start(store) {
        Ok(ended) => code(ended),
        Err(Failure::Config(errors)) => {
            complain(&errors.to_string());
            ExitCode::Config
        }
        Err(Failure::Start(error)) => {
            complain(&whole(&error));
            ExitCode::Failed
        }
    }
}

fn code(ended: Ended) -> ExitCode {
    if ended.left > 0 {
        tracing::error!(
            "{} processes could not be ended and are left behind",
            ended.left
        );
    }
    match ended.why {
        ExitReason::Asked if ended.left > 0 => ExitCode::Failed,
        ExitReason::Asked => ExitCode::Stopped,
        ExitReason::AskedAtOnce => ExitCode::Interrupted,
        ExitReason::Critical => ExitCode::Critical,
    }
}

/// An error with its causes, in one line.
pub(crate) fn whole(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}"))
}

/// What keeps the daemon from running, as a sentence.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct StartError {
    what: String,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// Why there is no daemon.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The configuration cannot be had as it is: a socket cannot be opened.
    #[error("{0}")]
    Config(Errors),
    #[error(transparent)]
    Start(StartError),
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

impl From<Errors> for Failure {
    fn from(errors: Errors) -> Self {
        Self::Config(errors)
    }
}

pub(super) fn because<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    what: impl Into<String>,
) -> impl FnOnce(E) -> StartError {
    move |source| StartError {
        what: what.into(),
        source: source.into(),
    }
}

fn start(store: Store) -> Result<Ended, Failure> {
    // What we were given has numbers that whatever is opened here would take.
    let mut passed = manager::take();
    let api = take_api(&mut passed);
    let mut sockets = Sockets::new(passed);
    // Before anything else opens descriptors: a start then costs the same however many there are.
    spawn::reserve().map_err(because("failed to set up the table of descriptors"))?;
    let circusd = store.config().circusd.clone();
    if let Some(umask) = circusd.umask {
        nix::sys::stat::umask(Mode::from_bits_truncate(umask.0));
    }
    let target = circusd.log_target.as_ref();
    let log = journal::start(&circusd.log_level, target);
    let reload_log = log.map_err(because(match target {
        Some(LogTarget::File(path)) => format!("failed to open the log '{}'", path.display()),
        Some(LogTarget::Journal | LogTarget::Stderr) | None => "failed to open the log".to_owned(),
    }))?;
    let private = config::directory_in_tmp(nix::unistd::geteuid().as_raw());
    if let SocketPath::Path(path) = &circusd.socket
        && path.starts_with(&private)
    {
        state::take_private(&private).map_err(because("cannot start"))?;
    }
    let state = State::take(&circusd.state_dir).map_err(because("cannot start"))?;
    let store = with_wishes(store, &state);
    let held = powers::give_up(store.config());
    let _pidfile = circusd.pidfile.as_deref().map(Pidfile::write).transpose()?;
    if let Some(left) = &state.left {
        sockets.resume(&store, left);
    }
    sockets.close_unclaimed();
    let opened = sockets.open(&store)?;
    sockets.put(opened, store.config());
    // Last of all that can fail here, so that no socket is left behind.
    let listening = match api {
        Some(api) => resume_listening(api, &circusd)?,
        None => listen(&circusd)?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(because("failed to set up the loop"))?;
    let Listening { listener, file } = listening;
    let ours = listener.try_clone();
    let ours = ours.map_err(because("failed to set up the table of descriptors"))?;
    let served = serve(store, state, sockets, listener, (reload_log, held));
    let mut ended = LocalSet::new().block_on(&runtime, served)?;
    if let Some(program) = ended.next.take() {
        let name = match &file {
            Some(_) => API_OF_OURS,
            None => API_OF_MANAGER,
        };
        ended.passed.push((name.to_owned(), ours.into()));
        drop(runtime);
        let failed = reexec::execute(&program, std::env::args_os(), ended.passed);
        let Err(error) = failed;
        // Whoever is started next goes on; until then nobody looks after what runs.
        let what = format!("failed to execute '{}'", program.display());
        return Err(because(what)(error).into());
    }
    if let Some(file) = file
        && let Err(error) = file.remove()
    {
        tracing::warn!("failed to remove the socket: {error}");
    }
    Ok(ended)
}

/// The API socket of an earlier program in this process.
const API_OF_OURS: &str = "circusd.api";

/// The API socket that the service manager has opened: what it calls one without a name of its own
/// (`FileDescriptorName=` in systemd.socket(5)).
const API_OF_MANAGER: &str = "circusd.socket";

/// Takes the API socket out of what we were passed, if it is there.
fn take_api(passed: &mut Vec<Passed>) -> Option<Passed> {
    let is_api = |passed: &Passed| [API_OF_OURS, API_OF_MANAGER].contains(&passed.name.as_str());
    let found = passed.iter().position(is_api)?;
    Some(passed.remove(found))
}

/// Answers on a socket that is open already. One that an earlier program of ours has made keeps its
/// file until we end.
fn resume_listening(api: Passed, circusd: &Circusd) -> Result<Listening, StartError> {
    let told = || because("failed to answer on the socket that was passed");
    let path = match &circusd.socket {
        SocketPath::Path(path) if api.name == API_OF_OURS => Some(path.as_path()),
        SocketPath::Path(_) | SocketPath::Abstract(_) => None,
    };
    socket::resume_listening(api.fd, path).map_err(told())
}

/// The configuration with what came over the socket to an earlier daemon.
fn with_wishes(store: Store, state: &State) -> Store {
    let wishes = state.left.as_ref().and_then(|left| left.wishes.as_ref());
    let Some(wishes) = wishes else {
        return store;
    };
    let (store, faults) = store.with_wishes(wishes);
    for (watcher, errors) in faults {
        tracing::warn!(
            "{watcher}: what was set over the socket no longer fits the configuration, and is left \
             out: {errors}"
        );
    }
    store
}

pub(super) fn listen(circusd: &Circusd) -> Result<Listening, StartError> {
    let address = match &circusd.socket {
        SocketPath::Path(path) => Address::Path(path.clone()),
        SocketPath::Abstract(name) => Address::Abstract(name.as_bytes().to_vec()),
    };
    let group = match &circusd.socket_group {
        Some(Identity::Id(gid)) => Some(Gid::from_raw(*gid)),
        Some(Identity::Name(name)) => {
            Some(users::group(name).map_err(because("failed to find the group of the socket"))?)
        }
        // Only who could give the socket away tries to: circus is a group of the system's daemon.
        None if nix::unistd::geteuid().is_root() => users::group("circus").ok(),
        None => None,
    };
    let (mode, group) = match &address {
        Address::Path(_) => (Some(Mode::from_bits_truncate(circusd.socket_mode.0)), group),
        // An abstract name has neither; who may connect is then a matter of [access] alone.
        Address::Abstract(_) => (None, None),
    };
    socket::listen(&address, mode, group, BACKLOG).map_err(because("cannot start"))
}

/// The socket as clients name it.
pub(super) fn socket_text(socket: &SocketPath) -> String {
    match socket {
        SocketPath::Path(path) => path.to_string_lossy().into_owned(),
        SocketPath::Abstract(name) => format!("@{name}"),
    }
}

/// The file with our pid, for as long as this lives.
struct Pidfile(PathBuf);

impl Pidfile {
    fn write(path: &Path) -> Result<Pidfile, StartError> {
        let written =
            open_pidfile(path).and_then(|mut file| writeln!(file, "{}", std::process::id()));
        let what = || format!("failed to write the pidfile '{}'", path.display());
        written.map_err(|error| because(what())(error))?;
        Ok(Pidfile(path.to_owned()))
    }
}

/// Not through a symbolic link, as the directory may be one where others write, and without waiting,
/// as open(2) of a named pipe does until somebody reads from it.
fn open_pidfile(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .custom_flags(flags.bits())
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    // Not before it is known to be one: to open it is not to change it.
    file.set_len(0)?;
    Ok(file)
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        // It may be gone already; nobody is served by a complaint.
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn serve(
    store: Store,
    mut state: State,
    sockets: Sockets,
    listener: std::os::unix::net::UnixListener,
    (reload_log, held): (journal::Reload, caps::Held),
) -> Result<Ended, StartError> {
    // A file that may not grow (RLIMIT_FSIZE) is an error where it is written to, and not our end.
    let signals = Signals::new([SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR2, SIGXFSZ]);
    let signals = signals.map_err(because("failed to listen to signals"))?;
    let mut orders = Orders::Signals(signals);
    listener
        .set_nonblocking(true)
        .map_err(because("failed to listen"))?;
    let listener = UnixListener::from_std(listener).map_err(because("failed to listen"))?;
    let descriptors =
        limits::raise_descriptors().map_err(because("failed to raise the limit on descriptors"))?;
    let (records, history) = state
        .begin()
        .map_err(because("failed to write down the state"))?;
    let past = std::mem::take(&mut state.past);
    let left = state.left.take();
    let (asks, asked) = mpsc::unbounded_channel();
    let grounds = Grounds::of_daemon(&store, &state, held);
    let assembled = assemble(
        store,
        grounds,
        (left, past),
        sockets,
        asks,
        descriptors,
        (Some(reload_log), Some(records)),
    )?;
    let Assembled {
        mut driver,
        left,
        base,
    } = assembled;
    driver.log.keep_in(Some(history));
    let starts = driver.may_start(&mut orders).await;
    if !starts.map_err(because("cannot start"))? {
        return Ok(Ended::new(ExitReason::Asked, 0));
    }
    driver.boot(left)?;
    driver.keep_vigil(driver.store.trace());
    let taken = |pid| driver.workers.is_known(pid);
    tell_of_leftovers(base.as_deref(), state.previous.as_deref(), taken);
    if let Some(socket) = &driver.surroundings.socket {
        tracing::info!("answering on {socket}");
    }
    let shared = driver.shared.clone();
    let accepting = tokio::task::spawn_local(accept(listener, shared.clone()));
    let ended = driver.run(orders, asked).await;
    if ended.next.is_some() {
        limits::restore_descriptors(&descriptors);
    }
    accepting.abort();
    // Who does not read is not waited for any longer; all others have their answers by then.
    let _ = tokio::time::timeout(FAREWELL_MAX, shared.farewell()).await;
    Ok(ended)
}

/// What a daemon, or a guest in somebody else's program, stands on.
pub(super) struct Grounds {
    pub(super) standing: Standing,
    pub(super) instance: String,
    /// The name of an instance that left something with which we cannot go on.
    pub(super) previous: Option<String>,
    /// What the paths of notify sockets begin with.
    pub(super) notify: PathBuf,
    /// What the paths of the directories of credentials begin with.
    pub(super) credentials: PathBuf,
    /// Where the state is.
    pub(super) directory: PathBuf,
    /// The group below which we may make groups.
    pub(super) base: Option<PathBuf>,
    /// Where clients are answered.
    pub(super) socket: Option<String>,
    pub(super) manager: Manager,
    /// Answered by the program that we are in.
    pub(super) closures: Closures,
    /// The capabilities that we hold.
    pub(super) held: caps::Held,
}

impl Grounds {
    fn of_daemon(store: &Store, state: &State, held: caps::Held) -> Grounds {
        let abilities = abilities::probe();
        for missing in abilities.missing() {
            tracing::info!("{missing}");
        }
        let circusd = &store.config().circusd;
        Grounds {
            standing: Standing::Daemon,
            instance: state.instance.clone(),
            previous: state.previous.clone(),
            notify: state.notify(),
            credentials: state.credentials(),
            directory: state.directory().to_owned(),
            base: abilities.cgroup_base.ok().filter(|_| circusd.cgroups),
            socket: Some(socket_text(&circusd.socket)),
            manager: Manager::new(),
            closures: Closures::default(),
            held,
        }
    }
}

/// A daemon, and what an earlier one has left to it.
pub(super) struct Assembled {
    pub(super) driver: Driver,
    pub(super) left: Option<Left>,
    /// The group below which we may make groups.
    base: Option<PathBuf>,
}

pub(super) fn assemble(
    store: Store,
    grounds: Grounds,
    (left, past): (Option<Left>, Vec<Past>),
    sockets: Sockets,
    asks: mpsc::UnboundedSender<Ask>,
    descriptors: limits::Descriptors,
    (reload_log, records): (Option<journal::Reload>, Option<Records>),
) -> Result<Assembled, StartError> {
    for warning in store.warnings() {
        tracing::warn!("{warning}");
    }
    access::warn_of_nobodies(&store.config().access);
    let circusd = &store.config().circusd;
    let base = grounds.base.as_deref();
    let clock = Clock::start();
    // Where the group is our unit's own, its groups are found without a name as well.
    let left_by = grounds.previous.as_deref().unwrap_or(&grounds.instance);
    let mut left = match base.filter(|_| grounds.standing == Standing::Daemon) {
        Some(base) => strays::add(left, &homes::root(base, left_by), left_by, &store, &clock),
        None => strays::add_marked(left, &grounds.instance, &store, &clock),
    };
    let last_seq = past.last().map_or(0, |past| past.seq);
    let limits = convert::limits(circusd);
    let core = adopt::supervisor(left.as_mut(), last_seq, clock.now(), limits);
    let surroundings = Rc::new(Surroundings {
        instance: grounds.instance.clone(),
        socket: grounds.socket,
        descriptors: descriptors.for_workers(),
        oom_score_adj: None,
        held: grounds.held,
        standing: grounds.standing,
        // What lies beside another program is not ours.
        plugins: (grounds.standing == Standing::Daemon)
            .then(program::plugins_beside_us)
            .flatten(),
    });
    let homes = Homes::new(base, &grounds.instance, grounds.standing);
    let known = Rc::default();
    let budget = Budget::new(descriptors.ours);
    let ground = |homes| {
        let (surroundings, known) = (Rc::clone(&surroundings), Rc::clone(&known));
        Ground::new(homes, budget, surroundings, known)
    };
    let for_hooks = ground(homes.for_hooks());
    let examiner = Examiner::new(Rc::clone(&for_hooks));
    let hooks = Hooks::new(for_hooks, grounds.closures);
    hooks.closures.set_timeout(circusd.hook_timeout);
    hooks.own.update(&store.config().hooks);
    let fifos = Rc::new(match grounds.standing {
        Standing::Daemon => Fifos::new(&grounds.directory, &grounds.instance),
        Standing::Guest => Fifos::without_names(&grounds.directory, &grounds.instance),
    });
    let loggers = Loggers::new(ground(homes.for_loggers()), fifos);
    let streams = Streams::new(loggers).map_err(because("failed to open /dev/null"))?;
    let notify = grounds.notify;
    let handed = Handed::new(grounds.credentials);
    let workers = Workers::new(
        homes,
        streams,
        budget,
        known,
        notify,
        handed,
        grounds.standing,
    );
    let shared = Shared {
        asks,
        budget,
        log: SharedLog::new(grounds.instance, circusd.event_buffer as usize, past),
        connections: Rc::new(Cell::new(0)),
        closed: Rc::new(Notify::new()),
        connections_max: Rc::new(Cell::new(circusd.connections_max as usize)),
        message_bytes_max: Rc::new(Cell::new(circusd.message_bytes_max.0 as usize)),
        own: Rc::clone(&hooks.own),
        access: Rc::new(RefCell::new(store.config().access.clone())),
    };
    let base = base.map(Path::to_owned);
    let driver = Driver {
        core,
        clock,
        workers,
        examiner,
        hooks,
        turns: Turns::default(),
        watch: driver::watch().map_err(because("failed to set up the loop"))?,
        recipes: Recipes::default(),
        sockets,
        log: Rc::clone(&shared.log),
        surroundings,
        shared,
        requests: 0,
        waiting: std::collections::BTreeMap::new(),
        inputs: Vec::new(),
        births: std::collections::VecDeque::new(),
        more: false,
        has_begun: false,
        bereaved: false,
        interrupted: false,
        ended: None,
        reload_log,
        records,
        written: Written::default(),
        manager: grounds.manager,
        leaving: Leaving::new(&grounds.directory),
        standing: grounds.standing,
        vigil: Vigil::default(),
        store,
    };
    Ok(Assembled { driver, left, base })
}

/// Says what an instance before this one has left that nobody looks after now: `taken` are those of
/// it that were taken over.
fn tell_of_leftovers(base: Option<&Path>, previous: Option<&str>, taken: impl Fn(Pid) -> bool) {
    let (left, place) = match (base, previous) {
        (_, None) => return,
        (Some(base), Some(previous)) => match clear_previous(base, previous) {
            Some((path, left)) => {
                let left = left.into_iter().filter(|pid| !taken(*pid)).count();
                (left, format!("in the cgroup '{}'", path.display()))
            }
            None => return,
        },
        (None, Some(previous)) => (
            count_previous(previous),
            format!("with CIRCUS_WORKER={previous}:… in its environment"),
        ),
    };
    let live = match left {
        0 => return,
        1 => "lives",
        _ => "live",
    };
    let left = journal::processes(left);
    tracing::warn!(
        "{left} of an earlier circusd that was killed still {live} {place}; without its state they \
         cannot be taken over, and are left alone"
    );
}

impl Driver {
    /// Tells core of the configuration; the watchers that start with the daemon start.
    ///
    /// # Errors
    ///
    /// It asks for more than the limits allow.
    pub(super) fn boot(&mut self, left: Option<Left>) -> Result<(), StartError> {
        let made_from = left.as_ref().map_or(&[][..], |left| &left.made_from);
        let opened = self.sockets.configured();
        let changed = self.recipes.resume(&self.store, opened, made_from);
        self.take_over_output(left.as_ref());
        if let Some(left) = &left {
            self.take_over(left);
        }
        self.workers.streams.forget_others();
        self.workers.all_adopted();
        let unclaimed = self.sockets.take_unclaimed();
        self.manager.forget(&unclaimed);
        let command = self.apply_command(&self.store, changed);
        self.core
            .would_accept(&command)
            .map_err(because("cannot start"))?;
        for watcher in &self.store.config().watchers {
            self.workers.homes.resources.want_anyway(watcher);
        }
        self.ask_core(command);
        self.write_all();
        self.manager.keep(self.sockets.to_keep());
        Ok(())
    }
}

/// Takes in clients. One descriptor is kept in reserve, so that with a full table (of the whole
/// system, as our own is never full of clients) one can still be told, rather than be left waiting.
pub(super) async fn accept(listener: UnixListener, shared: Shared) {
    let mut reserve = File::open("/dev/null").ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => admit(stream, &shared),
            Err(error) if is_full(&error) => {
                drop(reserve.take());
                if let Ok((stream, _)) = listener.accept().await {
                    turn_away(&stream, shared.connections.get());
                }
                reserve = File::open("/dev/null").ok();
                if reserve.is_none() {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
            // The client went away while it waited; see accept(2) for what else may pass.
            Err(error) => tracing::debug!("failed to accept a client: {error}"),
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    use nix::libc::{EMFILE, ENFILE, ENOBUFS, ENOMEM};
    matches!(
        error.raw_os_error(),
        Some(EMFILE | ENFILE | ENOBUFS | ENOMEM)
    )
}

fn admit(stream: tokio::net::UnixStream, shared: &Shared) {
    let limit = shared.connections_max.get();
    if shared.connections.get() >= limit {
        return turn_away(&stream, limit);
    }
    if !shared.budget.allows(&stream) {
        return turn_away(&stream, shared.connections.get());
    }
    match socket::peer(&stream) {
        Ok(peer) => {
            tokio::task::spawn_local(Connection::new(stream, peer, shared.clone()).serve());
        }
        Err(error) => tracing::warn!("failed to tell who a client is, closed it: {error}"),
    }
}
