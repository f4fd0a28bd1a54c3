//! What a program answers itself: hooks as closures, turning points of the arbiter, servers.

mod common;

use std::future::{Future, pending};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use circusd::api::types::{Object, WatcherState};
use circusd::api::{self, Method, params, reply};
use circusd::arbiter::{Answer, Builder, DaemonHook, Error, Hook, Item};
use circusd::{Arbiter, Watcher};
use common::DEADLINE;
use serde_json::json;

/// Fails a wait that would never end.
async fn soon<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, wait)
        .await
        .expect("not in time")
}

fn with_job() -> Builder {
    Arbiter::builder().watcher(Watcher::builder("job", ["sleep", "1000"]))
}

/// What a start says that the hook `before_start` keeps from happening.
async fn refusal(builder: Builder) -> String {
    let arbiter = builder.build().expect("it is well configured");
    soon(arbiter.start_in_background())
        .await
        .expect("it starts all the same");
    let job = soon(arbiter.get_watcher("job"))
        .await
        .expect("there is one");
    let status = soon(job.status()).await.expect("there is one");
    assert!(status.processes.is_empty(), "{status:?}");
    let error = soon(job.start()).await.expect_err("the hook says no");
    soon(arbiter.stop()).await.expect("it ends as it is told");
    error.to_string()
}

#[tokio::test]
async fn a_closure_lets_a_watcher_start_or_not() {
    let open = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&open);
    let arbiter = with_job()
        .hook("j*", Hook::BeforeStart, move |cx| {
            let answer = asked.load(Ordering::SeqCst);
            assert_eq!((cx.watcher.name(), cx.hook), ("job", Hook::BeforeStart));
            assert_eq!(cx.context["hook"], json!("before_start"));
            async move {
                // The arbiter answers while the hook is asked.
                let processes = cx.arbiter.numprocesses().await?;
                Ok::<_, Error>(answer && processes == 0)
            }
        })
        .build()
        .unwrap();
    soon(arbiter.start_in_background()).await.unwrap();
    let job = soon(arbiter.get_watcher("job")).await.unwrap();
    assert_eq!(
        soon(job.status()).await.unwrap().state,
        WatcherState::Stopped
    );
    open.store(true, Ordering::SeqCst);
    soon(job.start()).await.unwrap();
    assert_eq!(soon(arbiter.numprocesses()).await.unwrap(), 1);
    soon(arbiter.stop()).await.unwrap();
}

#[tokio::test]
async fn a_no_has_its_reason() {
    let no = |_| async { Ok::<_, Error>(Answer::no("not on a sunday")) };
    let told = refusal(with_job().hook("job", Hook::BeforeStart, no)).await;
    assert!(told.contains("refused: not on a sunday"), "{told}");
}

#[tokio::test]
async fn an_error_is_a_failure() {
    let fails = |_| async { Err::<bool, _>("no such table") };
    let told = refusal(with_job().hook("job", Hook::BeforeStart, fails)).await;
    assert!(told.contains("failed: no such table"), "{told}");
    // An error tells its causes as well.
    let fails = |_| async {
        let error = std::io::Error::other("the disk is gone");
        Err::<bool, _>(Error::System {
            what: "failed to look",
            source: Arc::new(error),
        })
    };
    let told = refusal(with_job().hook("job", Hook::BeforeStart, fails)).await;
    assert!(
        told.contains("failed: failed to look: the disk is gone"),
        "{told}"
    );
}

#[tokio::test]
async fn a_panic_is_a_failure() {
    let panics = |_| async { panic!("out of cheese") };
    let builder = with_job().hook("job", Hook::BeforeStart, move |cx| async move {
        let panicked: bool = panics(cx).await;
        Ok::<_, Error>(panicked)
    });
    let told = refusal(builder).await;
    assert!(
        told.contains("failed: it panicked: out of cheese"),
        "{told}"
    );
}

#[tokio::test]
async fn what_blocks_has_a_thread_and_may_panic() {
    let builder = with_job().hook_blocking("job", Hook::BeforeStart, |cx| {
        assert_eq!(cx.watcher.name(), "shop");
        Ok::<_, Error>(true)
    });
    let told = refusal(builder).await;
    assert!(told.contains("failed: it panicked:"), "{told}");
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_a_failure() {
    /// Tells that the future of a hook was dropped.
    struct Dropped(Arc<AtomicUsize>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&dropped);
    let never = move |_| {
        let guard = Dropped(Arc::clone(&counter));
        async move {
            let _guard = guard;
            pending::<Result<bool, Error>>().await
        }
    };
    let builder = with_job().set("hook_timeout", "50ms");
    let told = refusal(builder.hook("job", Hook::BeforeStart, never)).await;
    assert!(told.contains("failed: no answer within 0.05 s"), "{told}");
    // Both were taken back, as soon as this runtime has its turn.
    let taken_back = async {
        while dropped.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
    };
    soon(taken_back).await;
}

#[tokio::test]
async fn closures_are_asked_behind_what_is_configured_and_in_their_order() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let note = |name: &'static str, answer: bool| {
        let asked = Arc::clone(&asked);
        move |_| {
            asked.lock().unwrap().push(name);
            async move { Ok::<_, Error>(answer) }
        }
    };
    let configured = Watcher::builder("other", ["sleep", "1000"])
        .set("autostart", false)
        .set("hooks.before_start", json!(["false"]));
    let builder = with_job()
        .watcher(configured)
        .hook("*", Hook::BeforeStart, note("first", true))
        .hook("*", Hook::BeforeStart, note("second", false))
        .hook("*", Hook::BeforeStart, note("third", true));
    let arbiter = builder.build().unwrap();
    soon(arbiter.start_in_background()).await.unwrap();
    assert_eq!(*asked.lock().unwrap(), ["first", "second"]);
    let other = soon(arbiter.get_watcher("other")).await.unwrap();
    soon(other.start()).await.unwrap_err();
    assert_eq!(
        asked.lock().unwrap().len(),
        2,
        "the program has said no first"
    );
    soon(arbiter.stop()).await.unwrap();
}

#[tokio::test]
async fn a_closure_adds_to_the_figures_of_a_process() {
    let arbiter = with_job()
        .hook("job", Hook::ExtendedStats, |cx| async move {
            let pid = cx.context["pid"].clone();
            Ok::<_, Error>(Answer::with(Object::from_iter([("seen".to_owned(), pid)])))
        })
        .build()
        .unwrap();
    soon(arbiter.start_in_background()).await.unwrap();
    let mut stats = params::Stats::default();
    stats.extended = Some(true);
    let stats: reply::Stats = soon(arbiter.call(Method::Stats(stats))).await.unwrap();
    let process = &stats.processes[0];
    let extended = process.extended.as_ref().expect("somebody has added to it");
    assert_eq!(extended["seen"], json!(process.pid));
    soon(arbiter.stop()).await.unwrap();
}

#[tokio::test]
async fn turning_points_come_in_the_order_of_a_life() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let mut builder = with_job();
    let points = [
        DaemonHook::PreStart,
        DaemonHook::WhenReady,
        DaemonHook::PostStart,
        DaemonHook::PreStop,
        DaemonHook::WhenExit,
    ];
    for number in 1..=2 {
        for point in points {
            let asked = Arc::clone(&asked);
            let note = move |hook: DaemonHook| {
                let note = format!("{} {number}", hook.as_str());
                asked.lock().unwrap().push(note);
            };
            builder = match number {
                1 => builder.on(point, move |cx| {
                    note(cx.hook);
                    async { Ok::<_, Error>(true) }
                }),
                _ => builder.on_blocking(point, move |cx| {
                    note(cx.hook);
                    Ok::<_, Error>(true)
                }),
            };
        }
    }
    let arbiter = builder.build().unwrap();
    soon(arbiter.start_in_background()).await.unwrap();
    soon(arbiter.stop()).await.unwrap();
    let expected: Vec<String> = points
        .iter()
        .flat_map(|point| (1..=2).map(|number| format!("{} {number}", point.as_str())))
        .collect();
    assert_eq!(*asked.lock().unwrap(), expected);
}

#[tokio::test]
async fn pre_start_keeps_it_from_starting() {
    let arbiter = with_job()
        .on(DaemonHook::PreStart, |_| async {
            Ok::<_, Error>(Answer::no("there is no database"))
        })
        .build()
        .unwrap();
    let error = soon(arbiter.start()).await.unwrap_err();
    assert!(matches!(error, Error::NotBegun { .. }), "{error:?}");
    let told = error.to_string();
    assert!(
        told.contains("pre_start says no: there is no database"),
        "{told}"
    );
}

#[tokio::test]
async fn a_stop_does_not_wait_for_pre_start() {
    let (begun, mut asked) = tokio::sync::mpsc::unbounded_channel();
    let arbiter = with_job()
        .on(DaemonHook::PreStart, move |_| {
            let begun = begun.clone();
            async move {
                begun.send(()).expect("the test listens");
                pending::<Result<bool, Error>>().await
            }
        })
        .build()
        .unwrap();
    let handle = arbiter.handle();
    let stop = async {
        asked.recv().await;
        handle.stop().await
    };
    let (started, stopped) = tokio::join!(soon(arbiter.start()), soon(stop));
    started.unwrap();
    stopped.unwrap();
}

#[tokio::test]
async fn servers_start_last_and_end_first() {
    let story = Arc::new(Mutex::new(Vec::new()));
    /// Tells that a server was ended.
    struct Ended(Arc<Mutex<Vec<String>>>);
    impl Drop for Ended {
        fn drop(&mut self) {
            self.0.lock().unwrap().push("server ended".into());
        }
    }
    let (for_server, for_stop) = (Arc::clone(&story), Arc::clone(&story));
    let (up, mut is_up) = tokio::sync::mpsc::unbounded_channel();
    let arbiter = with_job()
        .server(|_| async { Ok::<_, Error>(()) })
        .server(move |arbiter| async move {
            let processes = arbiter.numprocesses().await?;
            let _ended = Ended(Arc::clone(&for_server));
            for_server
                .lock()
                .unwrap()
                .push(format!("server with {processes}"));
            up.send(()).expect("the test listens");
            pending::<Result<(), Error>>().await
        })
        .hook("job", Hook::BeforeStop, move |_| {
            for_stop.lock().unwrap().push("stop".into());
            async { Ok::<_, Error>(true) }
        })
        .build()
        .unwrap();
    soon(arbiter.start_in_background()).await.unwrap();
    soon(is_up.recv()).await;
    soon(arbiter.stop()).await.unwrap();
    assert_eq!(
        *story.lock().unwrap(),
        ["server with 1", "server ended", "stop"]
    );
}

#[tokio::test]
async fn a_server_that_fails_ends_everything() {
    let fails = with_job().server(|_| async { Err::<(), _>("the port is taken") });
    let error = soon(fails.build().unwrap().start()).await.unwrap_err();
    let source = std::error::Error::source(&error).expect("it says why");
    assert_eq!(source.to_string(), "the port is taken");
}

#[tokio::test]
async fn a_server_that_panics_ends_everything_in_its_words() {
    let arbiter = with_job().server(|_| async {
        if true {
            panic!("no port is free");
        }
        Ok::<_, String>(())
    });
    let arbiter = arbiter.build().unwrap();
    let error = soon(arbiter.start()).await.unwrap_err();
    assert!(matches!(&error, Error::Server(_)), "{error:?}");
    let source = std::error::Error::source(&error).map(ToString::to_string);
    assert_eq!(source.as_deref(), Some("it panicked: no port is free"));
}

#[tokio::test]
async fn a_server_that_ends_well_ends_nothing_else() {
    let ended = Arc::new(tokio::sync::Notify::new());
    let told = Arc::clone(&ended);
    let arbiter = with_job().server(|_| async move {
        told.notify_one();
        Ok::<_, String>(())
    });
    let arbiter = arbiter.build().unwrap();
    soon(arbiter.start_in_background()).await.unwrap();
    soon(ended.notified()).await;
    let job = arbiter.get_watcher("job").await.unwrap();
    soon(job.restart()).await.unwrap();
    assert_eq!(arbiter.numprocesses().await.unwrap(), 1);
    soon(arbiter.stop()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_server_that_blocks_does_not_keep_it_from_ending() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let arbiter = with_job().server(|_| async move {
        // That it is released at the end is all that it waits for.
        let _ = released.recv();
        Ok::<_, String>(())
    });
    let arbiter = arbiter.build().unwrap();
    soon(arbiter.start_in_background()).await.unwrap();
    soon(arbiter.stop()).await.unwrap();
    drop(release);
}

#[test]
fn a_runtime_that_nobody_drives_does_not_keep_it_from_ending() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap()
    };
    let (idle, driven) = (runtime(), runtime());
    let arbiter = with_job().build().unwrap();
    idle.block_on(soon(arbiter.start_in_background())).unwrap();
    driven.block_on(soon(arbiter.stop())).unwrap();
}

#[tokio::test]
async fn clients_are_asked_about_by_closures() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    let arbiter = with_job()
        .api_socket(path.to_string_lossy())
        .on(DaemonHook::PreRequest, |cx| async move {
            Ok::<_, Error>(cx.context["method"] != json!("io.circusd.Stop"))
        })
        .build()
        .unwrap();
    soon(arbiter.start_in_background()).await.unwrap();
    let client = tokio::task::spawn_blocking(move || {
        let mut client = circusd::client::Client::connect(path).unwrap();
        let all = params::Watchers::default();
        client.call::<reply::Names>(&Method::List(all)).unwrap();
        let stop = Method::Stop(params::Verb::default());
        client
            .call::<reply::Changes>(&stop)
            .unwrap_err()
            .to_string()
    });
    assert_eq!(soon(client).await.unwrap(), "permission denied");
    // Nobody forbids the program anything.
    let stop = Method::Stop(params::Verb::default());
    let _: reply::Changes = soon(arbiter.call(stop)).await.unwrap();
    let refused = soon(arbiter.call::<reply::Empty>(Method::Reexec(params::Nothing {}))).await;
    let error = api::Error::MethodNotImplemented {
        method: "io.circusd.Reexec".into(),
    };
    assert!(matches!(refused, Err(Error::Refused(refused)) if refused == error));
    soon(arbiter.stop()).await.unwrap();
}

#[tokio::test]
async fn hooks_are_told_as_events() {
    let arbiter = with_job()
        .hook("job", Hook::AfterSpawn, |_| async { Ok::<_, Error>(true) })
        .build()
        .unwrap();
    soon(arbiter.start_in_background()).await.unwrap();
    let mut events = soon(arbiter.events()).await.unwrap();
    let job = soon(arbiter.get_watcher("job")).await.unwrap();
    soon(job.restart()).await.unwrap();
    loop {
        match soon(events.next()).await {
            Some(Item::Event(event)) if event.action == "hook_success" => {
                assert_eq!(event.data["name"], json!("after_spawn"));
                break;
            }
            Some(Item::Event(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    soon(arbiter.stop()).await.unwrap();
}
