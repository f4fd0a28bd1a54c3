//! The plugins of examples/plugins as the tests run them, by hand or by circusd.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use serde_json::Value;

use super::facts::{example, runs, text_of};
use super::{Home, eventually};

/// One of the three that do the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    Python,
    Shell,
    Rust,
}

pub(crate) const LANGUAGES: [Language; 3] = [Language::Python, Language::Shell, Language::Rust];

/// Where the sources are.
pub(crate) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/plugins")
}

/// `PATH` with our circusctl before everything else.
pub(crate) fn path() -> String {
    let circusctl = Path::new(env!("CARGO_BIN_EXE_circusctl"));
    let ours = circusctl.parent().expect("a file is in a directory");
    let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".into());
    format!("{}:{path}", ours.display())
}

/// A plugin in a directory of its own below that of the daemon; killed when it goes out of scope.
pub(crate) struct Plugin {
    language: Language,
    home: Arc<Home>,
    child: Option<Child>,
    /// What ran of it when it was killed.
    killed: BTreeSet<u64>,
}

impl Plugin {
    /// One that does not run yet.
    pub(crate) fn new(language: Language, home: &Arc<Home>) -> Self {
        let plugin = Self {
            language,
            home: Arc::clone(home),
            child: None,
            killed: BTreeSet::new(),
        };
        fs::create_dir_all(plugin.directory()).expect("a directory can be made");
        plugin
    }

    /// Where its log is, and where it looks for what is held.
    pub(crate) fn directory(&self) -> PathBuf {
        self.home.path("plugin")
    }

    /// Its program and arguments.
    pub(crate) fn argv(&self) -> Vec<String> {
        let source = |name: &str| sources().join(name).display().to_string();
        let mut argv = match self.language {
            Language::Python => vec!["python3".into(), source("plugin.py")],
            Language::Shell => vec!["sh".into(), source("plugin.sh")],
            Language::Rust => vec![example("plugin").display().to_string()],
        };
        argv.push(self.directory().display().to_string());
        argv
    }

    pub(crate) fn start(&mut self) {
        assert!(self.child.is_none(), "one at a time");
        let argv = self.argv();
        let told = File::options()
            .append(true)
            .create(true)
            .open(self.home.path("plugin.err"))
            .expect("a file can be opened");
        let mut command: Command = self.home.program(&argv[0]);
        command
            .args(&argv[1..])
            .env("PATH", path())
            // By another HOME than that of workers, which must not outlive their daemon.
            .env("HOME", self.directory())
            .stdout(Stdio::null())
            .stderr(told);
        self.child = Some(command.spawn().expect("a plugin can be started"));
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        self.killed = self.pids();
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
    }

    /// Waits until nothing of it runs any more, and so its connections are closed. One that ends has no
    /// environment long before that.
    pub(crate) fn wait_gone(&self) {
        eventually(&format!("the end of all of {:?}", self.language), || {
            let runs = self.killed.iter().any(|pid| runs(*pid)) || !self.pids().is_empty();
            (!runs).then_some(())
        });
    }

    /// All its processes, which have its environment.
    fn pids(&self) -> BTreeSet<u64> {
        let mark = format!("\0HOME={}\0", self.directory().display());
        let is_its = |directory: &Path| {
            let environment = fs::read(directory.join("environ")).unwrap_or_default();
            format!("\0{}", String::from_utf8_lossy(&environment)).contains(&mark)
        };
        let processes = fs::read_dir("/proc").expect("/proc can be read").flatten();
        let its = processes.filter(|entry| is_its(&entry.path()));
        its.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect()
    }

    /// What it has logged so far, in whole lines.
    pub(crate) fn log(&self) -> Vec<Value> {
        let text = text_of(&self.log_file());
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect()
    }

    pub(crate) fn log_file(&self) -> PathBuf {
        self.directory().join("events.jsonl")
    }

    /// Waits until its log is as `wanted`.
    pub(crate) fn wait_log(&self, what: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        eventually(&format!("{:?} logs {what}", self.language), || {
            Some(self.log()).filter(|log| wanted(log))
        })
    }

    /// Waits until it has said where it begins to hear; that place.
    pub(crate) fn wait_begun(&self) -> Value {
        self.wait_log("a beginning", |log| !log.is_empty())[0]["cursor"].clone()
    }

    /// What it has said on standard error.
    pub(crate) fn told(&self) -> String {
        text_of(&self.home.path("plugin.err"))
    }
}

#[expect(
    clippy::print_stderr,
    reason = "a test that failed shows what the plugin said"
)]
impl Drop for Plugin {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A test that has failed already has nothing more to fail for.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!(
                "---- of the plugin in {:?}\n{}\n{}----",
                self.language,
                self.told(),
                text_of(&self.log_file())
            );
        }
    }
}
