//! The C programs of a run, compiled anew from the sources beside this directory.
//!
//! No build script and no `cc` crate: nothing but this harness needs a C compiler.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::{BenchError, Result, failed};

/// Where the compiled programs are.
pub(crate) struct Tools {
    /// The supervisor without features.
    pub(crate) floor: PathBuf,
    /// What every supervisor keeps alive.
    pub(crate) worker: PathBuf,
    /// The floor's own client.
    pub(crate) client: PathBuf,
    /// Starts a program that ends with us.
    pub(crate) launch: PathBuf,
    dynamic: Vec<&'static str>,
}

impl Tools {
    /// Compiles all of `sources` into `target` with `$CC`, or `cc`.
    ///
    /// The worker and the launcher are linked statically where libc offers that, since the dynamic
    /// linker takes longer than the supervisors do; the floor and its client are linked as circusd is.
    pub(crate) fn compile(sources: &Path, target: &Path) -> Result<Tools> {
        let compiler = Compiler { sources, target };
        let mut dynamic = Vec::new();
        let mut lean = |name: &'static str| {
            compiler.compile(name, &["-static"]).or_else(|_| {
                dynamic.push(name);
                compiler.compile(name, &[])
            })
        };
        let (worker, launch) = (lean("worker")?, lean("launch")?);
        let floor = compiler.compile("floor", &[])?;
        let client = compiler.compile("client", &[])?;
        Ok(Tools {
            floor,
            worker,
            client,
            launch,
            dynamic,
        })
    }

    /// What a reader of the figures must know about how these were built.
    pub(crate) fn notes(&self) -> String {
        match self.dynamic.as_slice() {
            [] => String::new(),
            names => format!(
                "No static libc: {} linked dynamically, so starts take longer.\n\n",
                names.join(" and ")
            ),
        }
    }
}

struct Compiler<'a> {
    sources: &'a Path,
    target: &'a Path,
}

impl Compiler<'_> {
    fn compile(&self, name: &str, flags: &[&str]) -> Result<PathBuf> {
        let source_file = self.sources.join(name).with_extension("c");
        let program = self.target.join(format!("peers-{name}"));
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let Output { status, stderr, .. } = Command::new(&compiler)
            .args(["-O2", "-o"])
            .arg(&program)
            .args(flags)
            .arg(&source_file)
            .output()
            .map_err(failed(format!(
                "to run the C compiler '{}'",
                compiler.display()
            )))?;
        if status.success() {
            Ok(program)
        } else {
            let messages = String::from_utf8_lossy(&stderr).into_owned();
            Err(BenchError::Compile {
                source_file,
                messages,
            })
        }
    }
}
