//! Framing: any split, any bytes, any length.

use serde_json::{Value, json};

use super::*;
use crate::api::params::Watchers;
use crate::api::reply::Names;

const LIMIT: usize = 4096;

/// Two calls with the noise around them that is allowed.
const LINES: &[u8] = b"\n  \r\n{\"method\":\"io.circusd.List\"}\r\n\0\n\
    {\"parameters\":{\"watchers\":\"w\xc3\xa9b*\"},\"method\":\"io.circusd.Status\",\"more\":true}\0";

fn calls() -> [Call; 2] {
    let status = Method::Status(Watchers {
        watchers: Some("w\u{e9}b*".into()),
    });
    let list = Method::List(Watchers::default());
    [
        Call::from(&list),
        Call {
            more: true,
            ..Call::from(&status)
        },
    ]
}

/// What comes out of `pieces`, pushed one by one and taken out as soon as possible.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Result<Call, Error>>, Terminator) {
    let mut frames = Frames::<Call>::new(LIMIT);
    let mut read = Vec::new();
    for piece in pieces {
        frames.push(piece);
        read.extend(frames.by_ref().map(|frame| frame.map_err(Error::from)));
    }
    (read, frames.terminator())
}

fn check_broken(bytes: &[u8], reason: &str) {
    let more = b"\n{\"method\":\"io.circusd.List\"}\n".as_slice();
    let (read, _) = read([bytes, more, more]);
    match read.as_slice() {
        [Err(Error::InvalidMessage { reason: given })] => {
            assert!(given.contains(reason), "'{given}' for '{reason}'");
        }
        other => panic!("{other:?} for '{reason}'"),
    }
}

#[test]
fn messages_come_out_whole_wherever_they_are_split() {
    let expected = calls().map(Ok).to_vec();
    for first in 0..=LINES.len() {
        for second in first..=LINES.len() {
            let pieces = [&LINES[..first], &LINES[first..second], &LINES[second..]];
            assert_eq!(
                read(pieces),
                (expected.clone(), Terminator::Newline),
                "{first} {second}"
            );
        }
    }
    assert_eq!(read(LINES.chunks(1)), (expected, Terminator::Newline));
}

#[test]
fn messages_left_in_are_there_after_the_next_push() {
    let mut frames = Frames::<Call>::new(LIMIT);
    let mut take = |bytes: &[u8]| {
        frames.push(bytes);
        frames.next().unwrap().unwrap().method
    };
    assert_eq!(
        take(b"{\"method\":\"a.A\"}\n{\"method\":\"a.B\"}\n{\"method\":\"a.C\"}\n{\"met"),
        "a.A"
    );
    assert_eq!(take(b"hod\":\"a.D\"}\n{\"method\""), "a.B");
    assert_eq!(take(b":\"a.E\"}\n"), "a.C");
    assert_eq!(take(b""), "a.D");
    assert_eq!(take(b""), "a.E");
    assert!(frames.next().is_none());
}

#[test]
fn the_first_message_decides_how_to_answer() {
    let check = |bytes: &[u8], terminator| assert_eq!(read([bytes]).1, terminator, "{bytes:?}");
    check(b"", Terminator::Newline);
    check(b"\0\0 \0", Terminator::Newline);
    check(
        b"\n\n{\"method\":\"a.B\"}\0{\"method\":\"a.B\"}\n",
        Terminator::Nul,
    );
    check(
        b"\0\0{\"method\":\"a.B\"}\n{\"method\":\"a.B\"}\0",
        Terminator::Newline,
    );
}

#[test]
fn unknown_members_are_skipped_and_null_is_absent() {
    let line =
        b"{\"x\":[{}],\"method\":\"a.B\",\"more\":null,\"parameters\":null,\"oneway\":true}\n";
    let call = Call {
        method: "a.B".into(),
        oneway: true,
        ..Call::default()
    };
    assert_eq!(read([line.as_slice()]).0, [Ok(call)]);
}

#[test]
fn what_is_no_message_breaks_the_connection_once() {
    check_broken(b"\xff\xfe", "UTF-8");
    check_broken(b"{\"method\":\"\xc3\"}", "UTF-8");
    check_broken(b"GET / HTTP/1.1", "not a JSON object");
    check_broken(b"[\"io.circusd.List\"]", "not a JSON object");
    check_broken(b"\"io.circusd.List\"", "not a JSON object");
    check_broken(b"null", "not a JSON object");
    check_broken(b"{}", "method");
    check_broken(b"{\"method\":1}", "string");
    check_broken(b"{\"method\":\"a.B\",\"more\":1}", "boolean");
    check_broken(b"{\"method\":\"a.B\",\"parameters\":[]}", "map");
    check_broken(b"{\"method\":\"a.B\"} {}", "trailing");
    check_broken(b"{\"method\":\"a.B\"", "EOF");
    check_broken(b"{\"method\":\"a.B\",\"method\":\"a.B\"}", "duplicate");
}

#[test]
fn what_came_before_the_broken_message_is_read() {
    let (read, terminator) = read([b"{\"method\":\"a.B\"}\0[]\0{\"method\":\"a.B\"}\0".as_slice()]);
    assert!(
        matches!(read.as_slice(), [Ok(_), Err(Error::InvalidMessage { .. })]),
        "{read:?}"
    );
    assert_eq!(terminator, Terminator::Nul);
}

#[test]
fn deep_nesting_is_refused_without_harm() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let (open, close) = (open.repeat(100_000), close.repeat(100_000));
        let mut frames = Frames::<Call>::new(1 << 20);
        frames.push(format!("{{\"method\":\"a.B\",\"parameters\":{open}1{close}}}\n").as_bytes());
        assert!(matches!(frames.next(), Some(Err(FrameError::Malformed(_)))));

        let mut frames = Frames::<Reply>::new(1 << 20);
        frames.push(format!("{{\"parameters\":{open}1{close}}}\n").as_bytes());
        let reply = frames.next().unwrap().unwrap();
        assert!(matches!(
            reply.result::<Value>(),
            Err(ReplyError::Malformed(_))
        ));
    }
}

#[test]
fn a_message_may_be_as_long_as_the_limit_and_no_longer() {
    let call = |bytes: usize| format!("{:<bytes$}", "{\"method\":\"a.B\"}");
    for end in ["\n", "\0"] {
        let longest = call(LIMIT) + end;
        let two = [longest.as_bytes(), longest.as_bytes()].concat();
        assert!(matches!(
            read([two.as_slice()]).0.as_slice(),
            [Ok(_), Ok(_)]
        ));
        check_broken((call(LIMIT + 1) + end).as_bytes(), "longer than 4096 bytes");
    }
    check_broken(&[b' '; LIMIT + 1], "longer than");
}

#[test]
fn a_line_of_100_mb_costs_no_more_than_the_limit() {
    let chunk = vec![b'x'; 64 * 1024];
    let mut frames = Frames::<Call>::new(1 << 20);
    let mut broken = 0;
    for _ in 0..1600 {
        frames.push(&chunk);
        broken += frames.by_ref().count();
        assert!(
            frames.buffer.capacity() <= 2 << 20,
            "{}",
            frames.buffer.capacity()
        );
    }
    assert_eq!((broken, frames.buffer.capacity()), (1, 0));

    let mut frames = Frames::<Call>::new(1 << 20);
    frames.push(&vec![b'x'; 100 << 20]);
    assert!(
        frames.buffer.capacity() <= 1 << 20,
        "{}",
        frames.buffer.capacity()
    );
    assert!(matches!(
        frames.next(),
        Some(Err(FrameError::TooLong { .. }))
    ));
    assert!(frames.next().is_none());
}

#[test]
fn room_for_a_long_message_is_given_back() {
    let mut frames = Frames::<Call>::new(1 << 20);
    frames.push(format!("{{\"method\":\"{}\"}}\n", "x".repeat(1_000_000)).as_bytes());
    assert!(matches!(frames.next(), Some(Ok(_))));
    frames.push(b"\n");
    assert!(
        frames.buffer.capacity() <= KEPT_BYTES,
        "{}",
        frames.buffer.capacity()
    );
}

#[test]
fn golden_lines() {
    let check = |bytes: Vec<u8>, line: &str| assert_eq!(String::from_utf8_lossy(&bytes), line);
    let [list, status] = calls();
    check(
        encode(&list, Terminator::Newline),
        "{\"method\":\"io.circusd.List\"}\n",
    );
    check(
        encode(&status, Terminator::Nul),
        "{\"method\":\"io.circusd.Status\",\"parameters\":{\"watchers\":\"w\u{e9}b*\"},\"more\":true}\0",
    );
    let names = Names {
        watchers: vec!["web".into(), "a\nb\0".into()],
    };
    check(
        encode(&Reply::last(&names), Terminator::Newline),
        "{\"parameters\":{\"watchers\":[\"web\",\"a\\nb\\u0000\"]}}\n",
    );
    let before = serde_json::value::to_raw_value(&json!({"seq": 1})).unwrap();
    check(
        encode(&Reply::continued(&*before), Terminator::Nul),
        "{\"parameters\":{\"seq\":1},\"continues\":true}\0",
    );
    check(
        encode(
            &Error::NoSuchWatcher {
                watcher: "web".into(),
            },
            Terminator::Newline,
        ),
        "{\"error\":\"io.circusd.NoSuchWatcher\",\"parameters\":{\"watcher\":\"web\"}}\n",
    );
}

#[test]
fn a_reply_is_an_answer_or_an_error() {
    let read = |line: &str| {
        let mut frames = Frames::<Reply>::new(LIMIT);
        frames.push(line.as_bytes());
        frames.next().unwrap().unwrap()
    };
    let names = read("{\"parameters\":{\"watchers\":[\"web\"],\"new\":1},\"continues\":true}\n");
    assert!(names.continues);
    assert_eq!(names.result::<Names>().unwrap().watchers, ["web"]);
    assert!(read("{}\n").result::<crate::api::reply::Empty>().is_ok());
    assert!(matches!(
        read("{}\n").result::<Names>(),
        Err(ReplyError::Malformed(_))
    ));
    let refused = read("{\"error\":\"io.circusd.ShuttingDown\"}\n").result::<Names>();
    assert!(matches!(
        refused,
        Err(ReplyError::Refused(Error::ShuttingDown {}))
    ));
    let unknown =
        read("{\"error\":\"io.circusd.New\",\"parameters\":{\"a\":1}}\n").result::<Names>();
    assert!(matches!(unknown, Err(ReplyError::Unknown(_))));
}

#[test]
fn mutated_bytes_never_panic_and_split_or_not_give_the_same() {
    for seed in 0..5_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bytes = LINES.repeat(random.usize(1..3));
        for _ in 0..random.usize(0..6) {
            let at = random.usize(..bytes.len());
            match random.u8(..4) {
                0 => bytes[at] = random.u8(..),
                1 => bytes.insert(at, *random.choice(b"\n\0\r{}[]\",:\\\xff").unwrap()),
                2 if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => bytes.truncate(at.max(1)),
            }
        }
        let whole = read([bytes.as_slice()]);
        let size = random.usize(1..9);
        assert_eq!(
            read(bytes.chunks(size)),
            whole,
            "seed {seed}, chunks of {size}: {bytes:?}"
        );
        for call in whole.0.into_iter().flatten() {
            // Whatever comes of it is an answer.
            drop(crate::api::Request::parse(&call.method, call.parameters));
        }
    }
}
