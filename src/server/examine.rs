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

use super::driver::Driver;
use super::hooks::{self, Ground, Point, Scene};
use super::probes::{self, ATTEMPT_MAX, Pause};
use super::recipes::Recipe;
use crate::config::{self, Health, PlacedProbe, Ready};
use crate::core::{Fault, HookAnswer, Input, Probe, WorkerId};

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

/// Who is asked about.
struct Subject {
    recipe: Rc<Recipe>,
    wid: u32,
    scene: Scene,
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
    fn ask_readiness(&mut self, worker: WorkerId, probe: &config::Probe, subject: Subject) {
        let Subject { wid, scene, .. } = subject;
        let question = probe.at(wid);
        let ground = Rc::clone(&self.ground);
        self.begin(worker, None, |teller| async move {
            await_readiness(question, scene, ground, &teller).await;
        });
    }

    /// Asks again and again whether the process is healthy, and tells when it has failed too often.
    fn ask_health(&mut self, worker: WorkerId, health: &Health, subject: Subject) {
        let Subject { wid, scene, .. } = subject;
        let question = health.probe.at(wid);
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
    fn healths(&self) -> impl Iterator<Item = (WorkerId, &Health)> {
        let running = self.running.iter();
        running.filter_map(|(worker, running)| Some((*worker, running.health.as_ref()?)))
    }

    /// What a finding means, unless nobody wants to know any more.
    pub(super) fn take(&self, finding: Finding) -> Option<Input> {
        let running = self.running.get(&finding.worker)?;
        (running.number == finding.number).then_some(finding.input)
    }
}

impl Driver {
    /// Finds out about a process what core wants to know.
    pub(super) fn examine(&mut self, worker: WorkerId, probe: Probe) {
        let Some(subject) = self.subject(worker, probe) else {
            return;
        };
        let recipe = Rc::clone(&subject.recipe);
        match (probe, &recipe.watcher.ready, &recipe.watcher.health) {
            (Probe::Readiness, Ready::Probe(probe), _) => {
                self.examiner.ask_readiness(worker, probe, subject);
            }
            (Probe::Readiness, ready, _) => self.inputs.extend(silence(worker, ready)),
            // Who is on its way out need not answer.
            (Probe::Health, ..) if self.workers.is_departing(worker) => self.examiner.end(worker),
            (Probe::Health, _, Some(health)) => self.examiner.ask_health(worker, health, subject),
            (Probe::Health, _, None) => self.examiner.end(worker),
        }
    }

    fn subject(&self, id: WorkerId, probe: Probe) -> Option<Subject> {
        let watcher = self.core.owner(id)?;
        let worker = self.core.watcher(watcher)?.worker(id)?;
        let recipe = self.recipes.get(worker.revision())?;
        let point = match probe {
            Probe::Readiness => Point::Readiness,
            Probe::Health => Point::Health,
        };
        let (wid, pid) = (worker.wid(), worker.pid());
        let scene = Scene::of_process(point, watcher, Rc::clone(&recipe), wid, pid);
        Some(Subject { recipe, wid, scene })
    }

    /// Takes in what was found out about processes, and what they have said that concerns that.
    pub(super) fn on_findings(&mut self) {
        while let Ok(finding) = self.examiner.findings.try_recv() {
            self.inputs.extend(self.examiner.take(finding));
        }
        for worker in std::mem::take(&mut self.workers.departing) {
            self.examiner.end(worker);
        }
    }

    /// What health is may be something else now.
    pub(super) fn examine_anew(&mut self) {
        let asked = self.examiner.healths();
        let asked: Vec<_> = asked.map(|(id, health)| (id, health.clone())).collect();
        for (worker, health) in asked {
            let subject = self.subject(worker, Probe::Health);
            let now = subject.and_then(|subject| subject.recipe.watcher.health.clone());
            if now != Some(health) {
                self.examine(worker, Probe::Health);
            }
        }
    }
}

/// Why a process that tells by itself that it is ready is not, as long as it has said nothing.
fn silence(worker: WorkerId, ready: &Ready) -> Option<Input> {
    let why = match ready {
        Ready::Notify => "it has not said READY=1",
        Ready::Fd => "it has not written a line to its descriptor NOTIFY_FD",
        Ready::Spawn | Ready::Probe(_) => return None,
    };
    let why = why.to_owned();
    Some(Input::NotReady { worker, why })
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
