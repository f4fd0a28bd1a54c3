//! Finds out about processes that run: whether they are ready, and whether they are healthy; one task
//! for each that is asked about.
//!
//! Decides nothing: core says whom to ask about, for what, and until when. Where nobody is to be
//! asked about, nothing runs.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::hooks::{self, Ground, Scene};
use super::probes::{self, ATTEMPT_MAX, Pause};
use crate::config::{Health, PlacedProbe, Probe};
use crate::core::{Fault, HookAnswer, Input, WorkerId};

/// All that are asked about.
#[derive(Debug)]
pub(super) struct Examiner {
    running: HashMap<WorkerId, Running>,
    ground: Rc<Ground>,
    sender: mpsc::UnboundedSender<Finding>,
    last: u64,
    /// What was found, for the loop.
    pub(super) findings: mpsc::UnboundedReceiver<Finding>,
}

#[derive(Debug)]
struct Running {
    number: u64,
    /// `None`: for readiness.
    health: Option<Health>,
    task: JoinHandle<()>,
}

/// What was found out about a process.
#[derive(Debug)]
pub(super) struct Finding {
    worker: WorkerId,
    /// Of the examination, as one that was ended may have said something before.
    number: u64,
    input: Input,
}

/// How what is found is told.
struct Teller {
    worker: WorkerId,
    number: u64,
    sender: mpsc::UnboundedSender<Finding>,
}

impl Teller {
    fn tell(&self, input: Input) {
        let (worker, number) = (self.worker, self.number);
        // The daemon has ended if nobody hears it.
        let _ = self.sender.send(Finding {
            worker,
            number,
            input,
        });
    }
}

impl Examiner {
    /// `ground` is what programs that are asked stand on.
    pub(super) fn new(ground: Rc<Ground>) -> Examiner {
        let (sender, findings) = mpsc::unbounded_channel();
        Examiner {
            running: HashMap::new(),
            ground,
            sender,
            last: 0,
            findings,
        }
    }

    /// Asks until the process is ready, and tells why it is not meanwhile.
    pub(super) fn ask_readiness(&mut self, worker: WorkerId, probe: &Probe, scene: Scene) {
        let question = probe.at(scene.wid.unwrap_or(0));
        let ground = Rc::clone(&self.ground);
        self.begin(worker, None, |teller| async move {
            await_readiness(question, scene, ground, &teller).await;
        });
    }

    /// Asks again and again whether the process is healthy, and tells when it has failed too often.
    pub(super) fn ask_health(&mut self, worker: WorkerId, health: &Health, scene: Scene) {
        let question = health.probe.at(scene.wid.unwrap_or(0));
        let (rule, ground) = (health.clone(), Rc::clone(&self.ground));
        self.begin(worker, Some(health.clone()), |teller| async move {
            watch_health(&rule, question, scene, ground, &teller).await;
        });
    }

    fn begin<F: Future<Output = ()> + 'static>(
        &mut self,
        worker: WorkerId,
        health: Option<Health>,
        examination: impl FnOnce(Teller) -> F,
    ) {
        self.end(worker);
        self.last += 1;
        let number = self.last;
        let sender = self.sender.clone();
        let teller = Teller {
            worker,
            number,
            sender,
        };
        let task = tokio::task::spawn_local(examination(teller));
        let running = Running {
            number,
            health,
            task,
        };
        self.running.insert(worker, running);
    }

    /// Asks about a process no longer; what was started for it is ended.
    pub(super) fn end(&mut self, worker: WorkerId) {
        if let Some(running) = self.running.remove(&worker) {
            running.task.abort();
        }
    }

    /// Asks about nobody any more.
    pub(super) fn end_all(&mut self) {
        for (_, running) in self.running.drain() {
            running.task.abort();
        }
    }

    /// Those whose health is asked for, and how.
    pub(super) fn healths(&self) -> impl Iterator<Item = (WorkerId, &Health)> {
        let running = self.running.iter();
        running.filter_map(|(worker, running)| Some((*worker, running.health.as_ref()?)))
    }

    /// What a finding means, unless nobody wants to know any more.
    pub(super) fn take(&self, finding: Finding) -> Option<Input> {
        let running = self.running.get(&finding.worker)?;
        (running.number == finding.number).then_some(finding.input)
    }
}

async fn await_readiness(
    question: Result<PlacedProbe, String>,
    scene: Scene,
    ground: Rc<Ground>,
    teller: &Teller,
) {
    let worker = teller.worker;
    let mut told = None;
    let mut not_ready = |why: String| {
        // Core knows already.
        if told.as_ref() != Some(&why) {
            told = Some(why.clone());
            teller.tell(Input::NotReady { worker, why });
        }
    };
    let question = match question {
        Ok(question) => question,
        Err(why) => return not_ready(why),
    };
    let mut pause = Pause::default();
    loop {
        let answer = match &question {
            PlacedProbe::File(path) => {
                let asked = probes::Probe::File(path.clone());
                if !path.exists() {
                    not_ready(format!("{asked} does not exist"));
                }
                // It tells by itself, so nobody need ask twice.
                let appeared = probes::appears(path).await;
                appeared.map_err(|error| format!("{asked}: {error}"))
            }
            question => ask(question, ATTEMPT_MAX, &scene, &ground).await,
        };
        match answer {
            Ok(()) => return teller.tell(Input::Ready { worker }),
            Err(why) => not_ready(why),
        }
        sleep(pause.next()).await;
    }
}

async fn watch_health(
    rule: &Health,
    question: Result<PlacedProbe, String>,
    scene: Scene,
    ground: Rc<Ground>,
    teller: &Teller,
) {
    let mut failures = 0;
    let mut due = Instant::now() + rule.interval;
    loop {
        sleep_until(due).await;
        let answer = match &question {
            Ok(question) => ask(question, rule.timeout, &scene, &ground).await,
            Err(why) => Err(why.clone()),
        };
        match answer {
            Ok(()) => failures = 0,
            Err(why) => {
                failures += 1;
                if failures == rule.retries {
                    failures = 0;
                    teller.tell(unfit(teller.worker, why, rule.retries));
                }
            }
        }
        // Answers that take long do not pile up.
        due = (due + rule.interval).max(Instant::now());
    }
}

fn unfit(worker: WorkerId, why: String, failures: u32) -> Input {
    let error = match failures {
        1 => why,
        _ => format!("{why}, and so {failures} times in a row"),
    };
    Input::Unfit {
        worker,
        fault: Fault::Health,
        error,
    }
}

/// Asks once, for so long at most; the error says what was asked and why it is no yes.
async fn ask(
    question: &PlacedProbe,
    limit: Duration,
    scene: &Scene,
    ground: &Rc<Ground>,
) -> Result<(), String> {
    let asked = match question {
        PlacedProbe::Exec(argv) => return run(argv, limit, scene, ground).await,
        PlacedProbe::Tcp(address) => probes::Probe::Tcp(address.clone()),
        PlacedProbe::Unix(path) => probes::Probe::Unix(path.clone()),
        PlacedProbe::Http(url, expect) => probes::Probe::Http(url.clone(), expect.clone()),
        PlacedProbe::File(path) => probes::Probe::File(path.clone()),
    };
    let answer = probes::ask_once(&asked, limit).await;
    answer.map_err(|why| format!("{asked}: {why}"))
}

/// Dropping the future ends the program with all that it has started, as the end of the limit does.
async fn run(
    argv: &[String],
    limit: Duration,
    scene: &Scene,
    ground: &Rc<Ground>,
) -> Result<(), String> {
    let program = argv.first().map_or("", String::as_str);
    let ended = tokio::time::timeout(limit, hooks::run_program(argv, scene, ground)).await;
    let why = match ended {
        Ok(HookAnswer::True) => return Ok(()),
        Ok(HookAnswer::False(why) | HookAnswer::Failed(why)) => why,
        Err(_) => probes::too_late(limit),
    };
    Err(format!("'{program}': {why}"))
}
