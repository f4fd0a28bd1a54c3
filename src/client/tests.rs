//! The client against a real socket, at whose other end a thread says what a test lets it say.

use std::io::{BufRead, BufReader, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::api::types::Gap;
use crate::api::{Error, Method, reply};

/// The other end: for each call that comes the bytes to answer with, and after the last the end.
struct Daemon {
    directory: TempDir,
    /// Gives the calls that came.
    thread: JoinHandle<Vec<Value>>,
}

impl Daemon {
    fn answering(answers: &'static [&'static str]) -> (Self, Client) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let thread = thread::spawn(move || serve(&listener, answers));
        (Self { directory, thread }, Client::connect(path).unwrap())
    }

    fn calls(self) -> Vec<Value> {
        let calls = self.thread.join().unwrap();
        self.directory.close().unwrap();
        calls
    }
}

fn serve(listener: &UnixListener, answers: &[&str]) -> Vec<Value> {
    let (stream, _) = listener.accept().unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let answer = |answer: &&str| {
        let line = lines.next().unwrap().unwrap();
        // The client may have gone on purpose.
        drop((&stream).write_all(answer.as_bytes()));
        serde_json::from_str(&line).unwrap()
    };
    answers.iter().map(answer).collect()
}

fn list() -> Method {
    Method::List(params::Watchers::default())
}

fn stop() -> Method {
    Method::Stop(params::Verb::default())
}

#[test]
fn a_call_has_a_typed_answer_or_the_daemons_error() {
    let (daemon, mut client) = Daemon::answering(&[
        "{\"parameters\":{\"watchers\":[\"web\"]}}\n",
        "{\"error\":\"io.circusd.ShuttingDown\",\"parameters\":{}}\n",
        "{\"parameters\":{\"watchers\":1}}\n",
        "{\"parameters\":{\"x\":[1]}}\n",
    ]);
    assert_eq!(
        client.call::<reply::Names>(&list()).unwrap().watchers,
        ["web"]
    );
    let refused = client.call::<reply::Changes>(&stop());
    assert!(
        matches!(refused, Err(ClientError::Refused(Error::ShuttingDown {}))),
        "{refused:?}"
    );
    let malformed = client.call::<reply::Names>(&list());
    assert!(
        matches!(malformed, Err(ClientError::Malformed(_))),
        "{malformed:?}"
    );
    let call = Call {
        method: "org.example.Odd".into(),
        ..Call::default()
    };
    assert_eq!(client.call::<Value>(call).unwrap(), json!({"x": [1]}));
    let names = [
        "io.circusd.List",
        "io.circusd.Stop",
        "io.circusd.List",
        "org.example.Odd",
    ];
    assert_eq!(daemon.calls(), names.map(|name| json!({"method": name})));
    let closed = client.call::<reply::Names>(&list());
    assert!(matches!(closed, Err(ClientError::Closed)), "{closed:?}");
}

#[test]
fn a_call_with_more_gives_the_replies_one_by_one() {
    let (daemon, mut client) = Daemon::answering(&[
        "{\"continues\":true,\"parameters\":{\"progress\":\
         {\"watcher\":\"web\",\"action\":\"stop\",\"done\":1,\"total\":2}}}\n\
         {\"parameters\":{\"changes\":[]}}\n",
        "{\"parameters\":{\"watchers\":[]}}\n",
    ]);
    let replies = client.call_more::<reply::Changes>(&stop()).unwrap();
    let replies: Vec<_> = replies.map(Result::unwrap).collect();
    assert_eq!(
        replies[0].progress.as_ref().map(|p| (p.done, p.total)),
        Some((1, 2))
    );
    assert_eq!(
        (replies.len(), replies[1].changes.as_deref()),
        (2, Some([].as_slice()))
    );
    assert!(client.call::<reply::Names>(&list()).is_ok());
    assert_eq!(
        daemon.calls()[0],
        json!({"method": "io.circusd.Stop", "more": true})
    );
}

#[test]
fn replies_dropped_halfway_close_the_connection() {
    const PROGRESS: &str =
        "{\"continues\":true,\"parameters\":{}}\n{\"continues\":true,\"parameters\":{}}\n";
    let (daemon, mut client) = Daemon::answering(&[PROGRESS]);
    assert!(
        client
            .call_more::<reply::Changes>(&stop())
            .unwrap()
            .next()
            .unwrap()
            .is_ok()
    );
    assert!(matches!(
        client.call::<Value>(&list()),
        Err(ClientError::Closed)
    ));
    assert_eq!(daemon.calls().len(), 1);
}

#[test]
fn a_stream_that_was_not_asked_for_is_an_error() {
    let (daemon, mut client) = Daemon::answering(&["{\"continues\":true}\n"]);
    assert!(matches!(
        client.call::<Value>(&list()),
        Err(ClientError::NotAsked)
    ));
    assert!(matches!(
        client.call::<Value>(&list()),
        Err(ClientError::Closed)
    ));
    daemon.calls();
}

#[test]
fn a_cast_waits_for_nothing() {
    let (daemon, mut client) = Daemon::answering(&["", "{\"parameters\":{\"watchers\":[]}}\n"]);
    client.cast(&stop()).unwrap();
    assert!(client.call::<reply::Names>(&list()).is_ok());
    assert_eq!(
        daemon.calls()[0],
        json!({"method": "io.circusd.Stop", "oneway": true})
    );
}

#[test]
fn a_subscription_gives_events_and_gaps_and_the_cursor_behind_them() {
    let (daemon, client) = Daemon::answering(&[
        "{\"continues\":true,\"parameters\":{\"cursor\":\"i:4\",\"watchers\":[]}}\n\
         {\"continues\":true,\"parameters\":{\"cursor\":\"i:6\",\"gap\":{\"first\":5,\"last\":6}}}\n\
         {\"continues\":true,\"parameters\":{\"cursor\":\"i:7\",\"news\":1}}\n\
         {\"continues\":true,\"parameters\":{\"cursor\":\"i:8\",\"event\":{\"cursor\":\"i:8\",\
         \"seq\":8,\"time_usec\":1,\"topic\":\"circusd.ready\",\"action\":\"ready\",\"data\":{}}}}\n\
         {\"error\":\"io.circusd.ShuttingDown\"}\n",
    ]);
    let subscribe = params::Subscribe {
        snapshot: Some(true),
        ..Default::default()
    };
    let mut events = client.subscribe(subscribe).unwrap();
    assert_eq!(
        (events.cursor(), events.snapshot()),
        ("i:4", Some([].as_slice()))
    );
    assert_eq!(
        events.next().unwrap().unwrap(),
        Item::Gap(Gap { first: 5, last: 6 })
    );
    assert_eq!(events.cursor(), "i:6");
    match events.next().unwrap().unwrap() {
        Item::Event(event) => assert_eq!(event.topic, "circusd.ready"),
        Item::Gap(gap) => panic!("{gap:?}"),
    }
    assert_eq!(events.cursor(), "i:8");
    let end = events.next().unwrap();
    assert!(
        matches!(end, Err(ClientError::Refused(Error::ShuttingDown {}))),
        "{end:?}"
    );
    assert!(events.next().is_none());
    let call =
        json!({"method": "io.circusd.Subscribe", "parameters": {"snapshot": true}, "more": true});
    assert_eq!(daemon.calls(), [call]);
}

#[test]
fn a_silent_daemon_is_waited_for_as_long_as_allowed() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let timeout = Duration::from_millis(20);
    let mut client = Client {
        connection: Connection::new(ours),
        timeout: Some(timeout),
    };
    theirs.write_all(b"{\"parameters\":").unwrap();
    let late = client.call::<Value>(&list());
    assert!(
        matches!(late, Err(ClientError::TimedOut { .. })),
        "{late:?}"
    );
    assert!(matches!(
        client.call::<Value>(&list()),
        Err(ClientError::Closed)
    ));
}

#[test]
fn a_daemon_that_reads_nothing_is_written_to_as_long_as_allowed() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let timeout = Duration::from_millis(20);
    let mut client = Client {
        connection: Connection::new(ours),
        timeout: Some(timeout),
    };
    let call = Call {
        method: "x".repeat(16 << 20),
        ..Call::default()
    };
    assert!(matches!(
        client.call::<Value>(call),
        Err(ClientError::TimedOut { .. })
    ));
    assert!(matches!(
        client.call::<Value>(&list()),
        Err(ClientError::Closed)
    ));
}

#[test]
fn a_subscription_goes_on_after_a_time_out() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let client = Client {
        connection: Connection::new(ours),
        timeout: None,
    };
    theirs
        .write_all(b"{\"continues\":true,\"parameters\":{\"cursor\":\"i:1\"}}\n{\"con")
        .unwrap();
    let mut events = client.subscribe(params::Subscribe::default()).unwrap();
    events.set_timeout(Some(Duration::from_millis(5)));
    assert!(matches!(
        events.next(),
        Some(Err(ClientError::TimedOut { .. }))
    ));
    let rest =
        b"tinues\":true,\"parameters\":{\"cursor\":\"i:3\",\"gap\":{\"first\":2,\"last\":3}}}\n";
    theirs.write_all(rest).unwrap();
    events.set_timeout(None);
    assert!(matches!(events.next(), Some(Ok(Item::Gap(_)))));
    drop(theirs);
    assert!(matches!(events.next(), Some(Err(ClientError::Closed))));
    assert!(events.next().is_none());
}

#[test]
fn why_the_daemon_closed_is_heard_though_it_did_not_listen() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let mut client = Client {
        connection: Connection::new(ours),
        timeout: None,
    };
    let refusal = Error::TooMany {
        what: "connections".into(),
        limit: 1024,
    };
    let line = crate::api::frame::encode(&refusal, crate::api::frame::Terminator::Nul);
    theirs.write_all(&line).unwrap();
    drop(theirs);
    assert!(matches!(client.cast(&stop()), Err(ClientError::Closed)));
    match client.call::<Value>(&list()) {
        Err(ClientError::Refused(error)) => assert_eq!(error, refusal),
        other => panic!("{other:?}"),
    }
}

#[test]
fn garbage_is_no_reply() {
    let (daemon, mut client) = Daemon::answering(&["HTTP/1.1 400 Bad Request\r\n"]);
    assert!(matches!(
        client.call::<Value>(&list()),
        Err(ClientError::NotAReply(_))
    ));
    daemon.calls();
}

#[test]
fn an_abstract_socket_is_reached_by_its_name() {
    let directory = tempfile::tempdir().unwrap();
    // Abstract names are the whole system's: a fresh directory's path is nobody else's.
    let name = directory.path().as_os_str().as_encoded_bytes();
    let address = SocketAddr::from_abstract_name(name).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    let path = format!("@{}", directory.path().display());
    let client = Client::connect_timeout(path, Duration::from_secs(60)).unwrap();
    assert!(listener.accept().is_ok());
    assert_eq!(client.timeout, Some(Duration::from_secs(60)));
}

#[test]
fn what_cannot_be_reached_is_named_with_a_hint() {
    let directory = tempfile::tempdir().unwrap();
    let check = |path: &Path, hint: &str| {
        let error = Client::connect(path).unwrap_err().to_string();
        let expected = format!("cannot reach circusd at '{}'{hint}", path.display());
        assert_eq!(error, expected);
    };
    let path = directory.path().join("socket");
    check(&path, "; is it running, and is this its socket?");
    drop(UnixListener::bind(&path).unwrap());
    check(&path, "; it has ended and left its socket");
    check(
        &directory.path().join("x".repeat(120)),
        "; a socket's path has at most 107 bytes",
    );
}
