//! The supervisor in another program: started, asked, commanded and ended.
//!
//! The arbiters run in the process of the tests, several at a time, on the runtimes of the tests.

mod common;

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use circusd::api::types::{Recipients, WatcherState};
use circusd::arbiter::{Error, Events, Hook, Item};
use circusd::{Arbiter, Watcher, api, get_arbiter};
use common::{DEADLINE, facts};
use serde_json::json;

/// Fails a wait that would never end.
async fn soon<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, wait)
        .await
        .expect("not in time")
}

/// The next event of this action.
async fn event(events: &mut Events, action: &str) -> api::types::Event {
    loop {
        match soon(events.next()).await {
            Some(Item::Event(event)) if event.action == action => return event,
            Some(Item::Event(_)) => {}
            other => panic!("no '{action}' but {other:?}"),
        }
    }
}

fn sleepers(numprocesses: u32) -> Arbiter {
    let sleep = Watcher::builder("sleep", ["sleep", "1000"]).numprocesses(numprocesses);
    get_arbiter([sleep]).expect("it is well configured")
}

async fn pids(watcher: &Watcher) -> BTreeSet<u32> {
    let processes = soon(watcher.processes()).await.expect("there is a watcher");
    processes.iter().map(circusd::Process::pid).collect()
}

#[tokio::test]
async fn an_arbiter_runs_until_it_is_stopped() {
    let arbiter = get_arbiter([json!({"cmd": "sleep 1000", "numprocesses": 3})]).unwrap();
    let handle = arbiter.handle();
    assert!(matches!(
        handle.numprocesses().await,
        Err(Error::NotStarted)
    ));
    soon(arbiter.start_in_background()).await.unwrap();
    assert_eq!(soon(arbiter.numwatchers()).await.unwrap(), 1);
    assert_eq!(soon(arbiter.numprocesses()).await.unwrap(), 3);
    let watcher = soon(arbiter.get_watcher("sleep")).await.unwrap();
    let processes = pids(&watcher).await;
    soon(arbiter.stop()).await.unwrap();
    assert!(processes.iter().all(|pid| !facts::runs((*pid).into())));
    assert!(matches!(handle.numprocesses().await, Err(Error::Ended)));
    assert!(matches!(arbiter.start().await, Err(Error::AlreadyStarted)));
    soon(handle.ended()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_waits_for_the_end() {
    let arbiter = sleepers(1);
    let handle = arbiter.handle();
    let stop = async move {
        loop {
            match handle.numprocesses().await {
                Ok(1) => return handle.stop().await,
                Ok(_) | Err(Error::NotStarted) => tokio::task::yield_now().await,
                Err(error) => return Err(error),
            }
        }
    };
    let stopped = tokio::spawn(stop);
    soon(arbiter.start()).await.unwrap();
    soon(stopped).await.unwrap().unwrap();
}

#[test]
fn no_runtime_is_needed() {
    let arbiter = sleepers(2);
    futures_block_on(arbiter.start_in_background()).unwrap();
    assert_eq!(futures_block_on(arbiter.numprocesses()).unwrap(), 2);
    futures_block_on(arbiter.stop()).unwrap();
}

#[test]
fn a_hook_that_blocks_where_there_is_no_runtime_does_not_keep_it_from_going() {
    let (enter, entered) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let arbiter = Arbiter::builder()
        .watcher(Watcher::builder("sleep", ["sleep", "1000"]))
        .hook("sleep", Hook::BeforeStart, move |_| {
            enter.send(()).expect("the test waits for it");
            // That it is released at the end is all that it waits for.
            let _ = released.lock().expect("nobody has panicked").recv();
            async { Ok::<_, Error>(true) }
        })
        .build()
        .unwrap();
    let mut start = Box::pin(arbiter.start_in_background());
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(start.as_mut().poll(&mut cx).is_pending());
    entered.recv_timeout(DEADLINE).expect("the hook is asked");
    drop(start);
    drop(arbiter);
    drop(release);
}

/// Runs a future on this thread, without any runtime.
fn futures_block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut cx = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut cx) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park_timeout(DEADLINE),
        }
    }
}

#[tokio::test]
async fn two_arbiters_in_one_program_know_nothing_of_each_other() {
    let (one, other) = (sleepers(1), sleepers(2));
    soon(one.start_in_background()).await.unwrap();
    soon(other.start_in_background()).await.unwrap();
    let of_other = pids(&soon(other.get_watcher("sleep")).await.unwrap()).await;
    assert_eq!(soon(one.numprocesses()).await.unwrap(), 1);
    soon(one.stop()).await.unwrap();
    assert_eq!(of_other.len(), 2);
    assert!(of_other.iter().all(|pid| facts::runs((*pid).into())));
    soon(other.stop()).await.unwrap();
}

#[tokio::test]
async fn all_mistakes_are_told_at_once() {
    let built = Arbiter::builder()
        .watcher(Watcher::builder("web", ["true"]).set("numproceses", 3))
        .watcher(Watcher::builder("web", ["true"]))
        .config_str("[watcher.job]\ncmd = 'true'\npriority = 'high'\n")
        .config_file("/no/such/circusd.toml")
        .build();
    let errors = built.unwrap_err().to_string();
    for part in [
        "there are two watchers 'web'",
        "/no/such/circusd.toml",
        "the configuration:3:",
    ] {
        assert!(errors.contains(part), "no '{part}' in:\n{errors}");
    }
}

#[tokio::test]
async fn a_mistake_in_rust_is_told_once_and_names_what_is_wrong() {
    let web = || Watcher::builder("web", ["true"]);
    for (wrong, told) in [
        (
            Arbiter::builder().watcher(web().set("numprocesses", -1)),
            "the program: watcher.web.numprocesses: -1 is out of range, which is 0 to 65536",
        ),
        (
            Arbiter::builder().watcher(web().env("A=B", "1")),
            "the program: watcher.web.env.A=B: the name of a variable is not empty and has no '=' \
             and no NUL character",
        ),
        (
            Arbiter::builder().watcher(Watcher::builder("a b", ["true"])),
            "the program: watcher.a b: a name begins with a letter or digit and has only letters, \
             digits and _ . : @ -",
        ),
        (
            Arbiter::builder().watcher(json!({"cmd": "true", "name": 5})),
            "the program: watcher.true.name: unknown key\n    did you mean 'nice'?",
        ),
        (
            Arbiter::builder().set("stop_timeout", "soon"),
            "the program: circusd.stop_timeout: expected a duration such as \"30s\" or \
             \"1h 30min\", or a number of seconds, found 'soon'",
        ),
    ] {
        assert_eq!(wrong.build().unwrap_err().to_string(), told);
    }
}

#[tokio::test]
async fn a_file_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pool.toml");
    std::fs::write(&file, "[watcher.one]\ncmd = 'sleep 1000'\n").unwrap();
    let arbiter = Arbiter::builder().config_file(&file).build().unwrap();
    soon(arbiter.start_in_background()).await.unwrap();
    let more =
        "[watcher.one]\ncmd = 'sleep 1000'\nnumprocesses = 2\n[watcher.two]\ncmd = 'sleep 1000'\n";
    std::fs::write(&file, more).unwrap();
    let reload = api::Method::ReloadConfig(api::params::Nothing {});
    let reply: api::reply::ConfigChanges = soon(arbiter.call(reload)).await.unwrap();
    let changed: Vec<_> = reply
        .changes
        .iter()
        .map(|change| change.watcher.as_str())
        .collect();
    assert_eq!(changed, ["one", "two"]);
    assert_eq!(soon(arbiter.numprocesses()).await.unwrap(), 3);
    soon(arbiter.stop()).await.unwrap();
}

#[tokio::test]
async fn what_belongs_to_a_daemon_is_refused() {
    let text = "[circusd]\numask = '022'\nevent_buffer = 100\n";
    let errors = Arbiter::builder().config_str(text).build().unwrap_err();
    let errors = errors.to_string();
    assert!(
        errors.contains("circusd.umask: belongs to the daemon"),
        "{errors}"
    );
    assert!(!errors.contains("event_buffer"), "{errors}");
    let hook = Arbiter::builder()
        .watcher(Watcher::builder("web", ["true"]))
        .hook("wed", Hook::BeforeStart, |_| async {
            Ok::<_, String>(true)
        });
    let errors = hook.build().unwrap_err().to_string();
    assert!(
        errors.contains("did you mean") && errors.contains("wed"),
        "{errors}"
    );
}

#[tokio::test]
async fn a_socket_that_cannot_be_opened_keeps_it_from_starting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let arbiter = Arbiter::builder()
        .socket("web", json!({"host": "127.0.0.1", "port": port}))
        .watcher(Watcher::builder("web", ["sleep", "1000"]).use_sockets(["web"]))
        .build()
        .unwrap();
    let error = soon(arbiter.start()).await.unwrap_err();
    assert!(matches!(&error, Error::Config(_)), "{error:?}");
    assert!(error.to_string().contains("socket.web"), "{error}");
}

#[tokio::test]
async fn a_socket_is_open_while_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("job.sock");
    let arbiter = Arbiter::builder()
        .socket("web", json!({"host": "127.0.0.1", "port": 0}))
        .socket("job", json!({"path": path.to_str()}))
        .watcher(Watcher::builder("web", ["sleep", "1000"]).use_sockets(["web", "job"]))
        .build()
        .unwrap();
    soon(arbiter.start_in_background()).await.unwrap();
    let socket = soon(arbiter.get_socket("web")).await.unwrap().unwrap();
    assert_eq!(socket.watchers, ["web"]);
    std::net::TcpStream::connect(&socket.address).expect("somebody listens");
    std::os::unix::net::UnixStream::connect(&path).expect("somebody listens");
    assert!(soon(arbiter.get_socket("wed")).await.unwrap().is_none());
    soon(arbiter.stop()).await.unwrap();
    // The port a process that another test starts at this moment may have for a moment more.
    std::os::unix::net::UnixStream::connect(&path).expect_err("nobody listens any more");
    assert!(!path.exists());
}

#[tokio::test]
async fn a_watcher_does_what_it_is_told() {
    let arbiter = sleepers(2);
    soon(arbiter.start_in_background()).await.unwrap();
    let watcher = soon(arbiter.get_watcher("sleep")).await.unwrap();
    assert_eq!(watcher.name(), "sleep");
    let first = pids(&watcher).await;
    assert_eq!(soon(watcher.incr(1)).await.unwrap(), 3);
    assert_eq!(soon(watcher.spawn()).await.unwrap(), 4);
    assert_eq!(soon(watcher.decr(3)).await.unwrap(), 1);
    assert_eq!(soon(watcher.scale(2)).await.unwrap(), 2);
    let changes = soon(watcher.reload()).await.unwrap();
    assert_eq!(changes[0].started.len(), 2, "{changes:?}");
    let second = pids(&watcher).await;
    assert!(first.is_disjoint(&second));
    soon(watcher.restart()).await.unwrap();
    assert!(second.is_disjoint(&pids(&watcher).await));
    soon(arbiter.reload()).await.unwrap();
    soon(watcher.stop()).await.unwrap();
    assert_eq!(
        soon(watcher.status()).await.unwrap().state,
        WatcherState::Stopped
    );
    soon(watcher.start()).await.unwrap();
    assert_eq!(pids(&watcher).await.len(), 2);
    let options = soon(watcher.options()).await.unwrap();
    assert_eq!(options["numprocesses"], json!(2));
    let effect = soon(watcher.set("graceful_timeout", "5s")).await.unwrap();
    assert_eq!(effect, api::types::Effect::Live);
    let refused = soon(watcher.set("graceful_timout", "5s"))
        .await
        .unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("did you mean 'graceful_timeout'"),
        "{refused}"
    );
    soon(arbiter.stop()).await.unwrap();
}

#[tokio::test]
async fn watchers_are_added_and_removed() {
    let arbiter = sleepers(1);
    soon(arbiter.start_in_background()).await.unwrap();
    let job = Watcher::builder("job", ["sleep", "1000"]).env("GREETING", "hello");
    let job = soon(arbiter.add_watcher(job)).await.unwrap();
    let pid = *pids(&job).await.first().unwrap();
    assert_eq!(facts::variable_of(pid.into(), "GREETING"), "hello");
    let names: Vec<_> = soon(arbiter.watchers()).await.unwrap();
    let names: Vec<_> = names.iter().map(Watcher::name).collect();
    assert_eq!(names, ["sleep", "job"]);
    let twice = soon(arbiter.add_watcher(json!({"cmd": "true", "name": "job"}))).await;
    let exists = api::Error::WatcherExists {
        watcher: "job".into(),
    };
    assert!(matches!(twice, Err(Error::Refused(error)) if error == exists));
    let later = Watcher::builder("later", ["sleep", "1000"]).set("autostart", false);
    let later = soon(arbiter.add_watcher(later)).await.unwrap();
    let status = soon(later.status()).await.unwrap();
    assert_eq!(status.state, WatcherState::Stopped, "it starts when told");
    soon(arbiter.rm_watcher("job")).await.unwrap();
    assert!(!facts::runs(pid.into()));
    let missing = soon(job.status()).await;
    let missing = missing.unwrap_err().to_string();
    assert_eq!(missing, "there is no watcher 'job'");
    let pattern = soon(arbiter.get_watcher("sle*")).await;
    assert!(matches!(
        pattern,
        Err(Error::Refused(api::Error::NoSuchWatcher { .. }))
    ));
    soon(arbiter.stop()).await.unwrap();
}

#[tokio::test]
async fn signals_reach_those_that_are_meant() {
    let arbiter = sleepers(2);
    soon(arbiter.start_in_background()).await.unwrap();
    let mut events = soon(arbiter.events()).await.unwrap();
    let watcher = soon(arbiter.get_watcher("sleep")).await.unwrap();
    let before = pids(&watcher).await;
    let told = soon(watcher.signal("USR1", Recipients::All)).await.unwrap();
    assert_eq!(BTreeSet::from_iter(told), before);
    // Each has a successor, which may be there before the other has gone.
    let (mut reaped, mut ready) = (0, 0);
    while (reaped, ready) != (2, 2) {
        match soon(events.next()).await {
            Some(Item::Event(event)) => {
                reaped += i32::from(event.action == "reap");
                ready += i32::from(event.action == "ready");
            }
            other => panic!("{other:?}"),
        }
    }
    let now = pids(&watcher).await;
    assert!(
        before.is_disjoint(&now) && now.len() == 2,
        "{before:?} {now:?}"
    );
    let told = soon(watcher.kill(Some(Duration::from_secs(5))))
        .await
        .unwrap();
    assert_eq!(BTreeSet::from_iter(told), now);
    soon(arbiter.stop()).await.unwrap();
}

#[tokio::test]
async fn events_are_told_from_a_cursor_to_the_last() {
    let arbiter = sleepers(1);
    soon(arbiter.start_in_background()).await.unwrap();
    let mut events = soon(arbiter.events()).await.unwrap();
    let watcher = soon(arbiter.get_watcher("sleep")).await.unwrap();
    let from = events.cursor().to_owned();
    soon(watcher.incr(1)).await.unwrap();
    let spawn = event(&mut events, "spawn").await;
    let mut with_state = api::params::Subscribe::default();
    with_state.snapshot = Some(true);
    let with_state = soon(arbiter.subscribe(with_state)).await.unwrap();
    let state = with_state.snapshot().expect("it was asked for");
    assert_eq!(
        (state[0].name.as_str(), state[0].numprocesses),
        ("sleep", 2)
    );
    assert!(events.snapshot().is_none());
    let mut again = api::params::Subscribe::default();
    again.since = Some(from);
    again.topics = Some(vec!["watcher.sleep.spawn".into()]);
    let mut again = soon(arbiter.subscribe(again)).await.unwrap();
    assert_eq!(event(&mut again, "spawn").await, spawn);
    assert_eq!(again.cursor(), spawn.cursor);
    let stop = tokio::spawn({
        let arbiter = arbiter.handle();
        async move { arbiter.stop().await }
    });
    event(&mut events, "stopping").await;
    let mut seq = event(&mut events, "stop").await.seq;
    while let Some(item) = soon(events.next()).await {
        let Item::Event(event) = item else {
            panic!("{item:?}");
        };
        assert_eq!(event.seq, seq + 1);
        seq = event.seq;
    }
    soon(stop).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_program_tells_something_of_a_watcher() {
    let arbiter = sleepers(1);
    soon(arbiter.start_in_background()).await.unwrap();
    let mut events = soon(arbiter.events()).await.unwrap();
    let watcher = soon(arbiter.get_watcher("sleep")).await.unwrap();
    let data = api::types::Object::from_iter([("version".to_owned(), json!(3))]);
    soon(watcher.notify_event("deployed", data)).await.unwrap();
    let notice = event(&mut events, "notice").await;
    assert_eq!(notice.topic, "watcher.sleep.notice");
    let told = json!({"name": "deployed", "data": {"version": 3}});
    assert_eq!(json!(notice.data), told);
    let long = api::types::Object::from_iter([("text".to_owned(), json!("x".repeat(65_536)))]);
    for (name, data) in [
        (String::new(), api::types::Object::new()),
        ("x".repeat(129), api::types::Object::new()),
        ("deployed".to_owned(), long),
    ] {
        let refused = soon(watcher.notify_event(name, data)).await;
        let invalid = matches!(
            refused,
            Err(Error::Refused(api::Error::InvalidParameter { .. }))
        );
        assert!(invalid, "{refused:?}");
    }
    soon(arbiter.stop()).await.unwrap();
}

#[tokio::test]
async fn who_reads_too_slowly_is_told_what_it_missed() {
    let arbiter = Arbiter::builder()
        .set("event_buffer", 5)
        .watcher(Watcher::builder("job", ["sleep", "1000"]))
        .build()
        .unwrap();
    soon(arbiter.start_in_background()).await.unwrap();
    let from = soon(arbiter.events()).await.unwrap().cursor().to_owned();
    let job = soon(arbiter.get_watcher("job")).await.unwrap();
    for _ in 0..5 {
        soon(job.restart()).await.unwrap();
    }
    let mut since = api::params::Subscribe::default();
    since.since = Some(from);
    let mut events = soon(arbiter.subscribe(since)).await.unwrap();
    let first = soon(events.next()).await;
    let Some(Item::Gap(gap)) = first else {
        panic!("no gap but {first:?}");
    };
    let Some(Item::Event(event)) = soon(events.next()).await else {
        panic!("no event after the gap");
    };
    assert_eq!(event.seq, gap.last + 1);
    soon(arbiter.stop()).await.unwrap();
}

/// Whoever embeds it gives parts of it to tasks and threads of his own.
#[test]
fn what_the_library_is_made_of_may_go_from_thread_to_thread() {
    fn is_shared<T: Send + Sync + std::fmt::Debug + 'static>() {}
    fn is_sent<T: Send + std::fmt::Debug + 'static>(value: T) -> T {
        value
    }
    is_shared::<Arbiter>();
    is_shared::<circusd::arbiter::Handle>();
    is_shared::<Watcher>();
    is_shared::<circusd::Process>();
    is_shared::<circusd::arbiter::WatcherBuilder>();
    is_shared::<circusd::arbiter::HookContext>();
    is_shared::<circusd::arbiter::Output>();
    is_shared::<Error>();
    is_shared::<circusd::arbiter::Errors>();
    is_shared::<circusd::client::ClientError>();
    is_shared::<Events>();
    let arbiter = is_sent(Arbiter::builder()).build().unwrap();
    fn is_sent_future<T: Send>(future: T) {
        drop(future);
    }
    is_sent_future(arbiter.start());
    is_sent_future(arbiter.call::<api::reply::Empty>(api::Method::Quit(Default::default())));
    is_sent_future(arbiter.events());
}

#[tokio::test]
async fn a_critical_watcher_ends_it() {
    let arbiter = get_arbiter([Watcher::builder("job", ["/no/such/program"])
        .set("max_retry", 0)
        .critical()]);
    let error = soon(arbiter.unwrap().start()).await.unwrap_err();
    assert!(matches!(error, Error::Critical), "{error:?}");
}

#[tokio::test]
async fn clients_are_answered_if_they_are_to_be() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    let arbiter = Arbiter::builder()
        .api_socket(path.to_string_lossy())
        .watcher(Watcher::builder("job", ["sleep", "1000"]))
        .build()
        .unwrap();
    soon(arbiter.start_in_background()).await.unwrap();
    let at = path.clone();
    let names = tokio::task::spawn_blocking(move || {
        let mut client = circusd::client::Client::connect(at).unwrap();
        let list = api::Method::List(api::params::Watchers::default());
        client.call::<api::reply::Names>(&list).unwrap().watchers
    });
    assert_eq!(soon(names).await.unwrap(), ["job"]);
    let job = soon(arbiter.get_watcher("job")).await.unwrap();
    let pid = *pids(&job).await.first().unwrap();
    let socket = facts::variable_of(pid.into(), "CIRCUS_SOCKET");
    assert_eq!(socket, path.to_string_lossy());
    soon(arbiter.stop()).await.unwrap();
    assert!(!path.exists());
}
