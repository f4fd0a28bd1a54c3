//! The packages, made by `packaging/build` from the programs that were just built, once each.
//!
//! Not a release: these programs are those of the tests' profile. How they are compiled for one,
//! `tests/run` and the scripts of the packages know; what is in a package is the same.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::common::skip;

/// A kind of package: what makes it, how it ends, and the programs that takes.
pub(crate) struct Format {
    name: &'static str,
    extension: &'static str,
    programs: &'static [&'static str],
    made: OnceLock<Option<PathBuf>>,
}

const fn format(
    name: &'static str,
    extension: &'static str,
    programs: &'static [&'static str],
) -> Format {
    let made = OnceLock::new();
    Format {
        name,
        extension,
        programs,
        made,
    }
}

pub(crate) static DEB: Format = format("deb", "deb", &["dpkg-buildpackage", "dh"]);
pub(crate) static RPM: Format = format("rpm", "rpm", &["rpmbuild"]);
pub(crate) static ARCH: Format = format(
    "arch",
    "gz",
    &["makepkg", "pacman", "fakeroot", "bsdtar", "setpriv"],
);

impl Format {
    /// The package, or `None` after telling that the test is skipped.
    pub(crate) fn package(&self) -> Option<&Path> {
        for program in self.programs {
            if !has(program) {
                skip(format!("no {program}"));
                return None;
            }
        }
        self.made.get_or_init(|| Some(self.make())).as_deref()
    }

    fn make(&self) -> PathBuf {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("packages")
            .join(self.name);
        // An earlier run has left its own.
        let _ = fs::remove_dir_all(&directory);
        let programs = Path::new(env!("CARGO_BIN_EXE_circusd")).parent();
        let output = Command::new(checkout("packaging/build"))
            .arg(self.name)
            .arg("--binaries")
            .arg(programs.expect("a file is in a directory"))
            .arg(&directory)
            // Not those of the cargo that runs the tests.
            .env_remove("CARGO_TARGET_DIR")
            .output()
            .expect("the script can be started");
        assert!(
            output.status.success(),
            "packaging/build {}: {}\n{}{}",
            self.name,
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let files = fs::read_dir(&directory).expect("it was made").flatten();
        files
            .map(|file| file.path())
            .find(|path| path.extension() == Some(OsStr::new(self.extension)))
            .expect("the script has made a package")
    }
}

/// A file of the checkout.
pub(crate) fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Whether a program can be found.
pub(crate) fn has(program: &str) -> bool {
    let directories = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&directories).any(|directory| directory.join(program).is_file())
}

/// Runs a program to its end, which has to be good; returns what it wrote.
pub(crate) fn run(program: &str, arguments: &[&OsStr]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}\n{text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// The same Debian package with a higher version, beside it.
pub(crate) fn newer(deb: &Path) -> PathBuf {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let root = directory.path();
    run("dpkg-deb", &["-R".as_ref(), deb.as_ref(), root.as_ref()]);
    let control = root.join("DEBIAN/control");
    let text = fs::read_to_string(&control).expect("a package has one");
    let text = text.replacen("\nVersion: ", "\nVersion: 1:", 1);
    fs::write(&control, text).expect("it is our own");
    let newer = deb.with_file_name("newer.deb");
    let (root, to) = (root.as_ref(), newer.as_ref());
    run(
        "dpkg-deb",
        &[
            "--root-owner-group".as_ref(),
            "-Zgzip".as_ref(),
            "-b".as_ref(),
            root,
            to,
        ],
    );
    newer
}
