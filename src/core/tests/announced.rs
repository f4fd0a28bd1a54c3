//! What the surroundings have told: core gives it a number, and thinks nothing of it.

use std::time::Duration;

use super::script::spec;
use crate::core::{
    Action, Announcement, Command, EventKind, HookAnswer, Input, Limits, Name, Refusal, Reply,
    Request, RequestId, Shutdown, Supervisor, Time,
};

fn answered(watcher: Option<&str>) -> Announcement {
    Announcement::HookAnswered {
        watcher: watcher.map(Name::from),
        hook: "extended_stats",
        answer: HookAnswer::False("not today".into()),
        duration: Duration::from_millis(1),
        process: None,
    }
}

fn core() -> Supervisor {
    let limits = Limits {
        warmup_delay: Duration::ZERO,
        stop_timeout: Duration::from_secs(1),
        watchers_max: 1,
        processes_max: 1,
    };
    Supervisor::new(Time::ZERO, limits, 1)
}

fn request(command: Command) -> Request {
    Request {
        id: RequestId(1),
        wait: true,
        progress: false,
        command,
    }
}

#[test]
fn an_answer_that_core_did_not_ask_for_is_an_event_of_whose_hook_it_was() {
    let mut core = core();
    let add = Input::Request(request(Command::Add {
        spec: Box::new(spec("a", 1)),
        start: false,
    }));
    core.handle_all(Time::ZERO, vec![add]);
    let before = core.last_seq();
    let told = [None, Some("a")].map(answered);
    let inputs = told.clone().map(Input::Announce).to_vec();
    let actions = core.handle_all(Time::ZERO, inputs);
    let [Action::Emit(first), Action::Emit(second)] = &actions[..] else {
        panic!("{actions:?}");
    };
    for (event, (number, news)) in [first, second].into_iter().zip((1..).zip(told)) {
        assert_eq!(event.seq, before + number);
        assert_eq!(event.watcher.as_ref(), news.watcher());
        assert_eq!(event.kind, EventKind::Announced(news));
    }
}

#[test]
fn when_all_is_over_requests_are_answered_and_news_told() {
    let mut core = core();
    core.handle_all(Time::ZERO, vec![Input::Shutdown(Shutdown::Graceful)]);
    let before = core.last_seq();
    let asked = [Command::Start(Vec::new()), Command::Quit].map(request);
    let mut inputs = asked.map(Input::Request).to_vec();
    inputs.extend([Input::Announce(answered(None)), Input::Deadline]);
    let actions = core.handle_all(Time::ZERO, inputs);
    let answers: Vec<_> = actions.iter().filter_map(reply).collect();
    assert_eq!(answers, [&Err(Refusal::ShuttingDown), &Ok(Reply::Done)]);
    assert!(
        matches!(&actions[2..], [Action::Emit(event)] if event.seq == before + 1),
        "{actions:?}"
    );
}

fn reply(action: &Action) -> Option<&Result<Reply, Refusal>> {
    match action {
        Action::Reply { result, .. } => Some(result),
        _ => None,
    }
}
