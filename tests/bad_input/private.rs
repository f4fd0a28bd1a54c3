//! A user without a session: the daemon's directory in /tmp is the user's own, or it does not start.
//!
//! Root plays a user that nobody is; a user plays himself, where he has no daemon there already.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use nix::unistd::geteuid;

use super::common::{Daemon, Home, output, skip};
use super::{SLEEPER, complaint};

/// Whoever starts the daemon, and the directory that it is to use.
struct User {
    uid: u32,
    directory: PathBuf,
}

impl User {
    /// `None` after it was said why not. `number` makes the users of several tests different.
    fn new(number: u32) -> Option<User> {
        let own = geteuid().as_raw();
        let uid = match own {
            // Above what is given to people and services, below what systemd makes up.
            0 => 1_000_000_000 + std::process::id() % 100_000_000 * 10 + number,
            own => own,
        };
        let directory = PathBuf::from(format!("/tmp/circusd-{uid}"));
        if own != 0 && number > 0 {
            skip("only root can play several users");
            return None;
        }
        if directory.exists() {
            skip(format!("'{}' is there already", directory.display()));
            return None;
        }
        let user = User { uid, directory };
        // A checkout below a private home cannot be entered by somebody else.
        let mut program = Command::new(env!("CARGO_BIN_EXE_circusd"));
        user.play(program.arg("--version"));
        if program.output().is_err() {
            skip("another user may not start the program that was built here");
            return None;
        }
        Some(user)
    }

    fn play(&self, command: &mut Command) {
        if geteuid().is_root() {
            command.uid(self.uid).gid(self.uid);
        }
        command
            .env_remove("XDG_RUNTIME_DIR")
            .env_remove("CIRCUSD_SOCKET")
            .current_dir("/");
    }

    fn home(&self) -> Arc<Home> {
        let home = Home::new(SLEEPER);
        if geteuid().is_root() {
            for name in ["", "etc", "etc/circusd.toml"] {
                chown(home.path(name), Some(self.uid), Some(self.uid)).expect("root may");
            }
        }
        home
    }

    fn start(&self, home: &Arc<Home>) -> Daemon {
        home.start_with(|command| {
            // The notify socket is root's, in a directory that is not.
            let notify = home.notify_socket();
            if geteuid().is_root() {
                chown(&notify, Some(self.uid), Some(self.uid)).expect("root may");
            }
            self.play(command);
        })
    }

    /// A start that is refused: what is complained of.
    fn refused(&self, home: &Home) -> String {
        let mut command = home.circusd();
        self.play(&mut command);
        let output = output(command);
        let complaint = complaint(&output);
        assert_eq!(output.status.code(), Some(1), "{complaint}");
        assert!(
            complaint.contains(&*self.directory.to_string_lossy()),
            "{complaint}"
        );
        complaint
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // Whatever a failed test has left there is ours: it was not there before.
        let _ = match fs::symlink_metadata(&self.directory) {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(&self.directory),
            _ => fs::remove_file(&self.directory),
        };
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").mode() & 0o7777
}

#[test]
fn a_user_without_a_session_has_a_directory_of_his_own() {
    let Some(user) = User::new(0) else { return };
    let home = user.home();
    for _ in 0..2 {
        let mut daemon = user.start(&home);
        assert_eq!(mode(&user.directory), 0o700);
        let meta = fs::metadata(&user.directory).expect("it is there");
        assert_eq!(meta.uid(), user.uid);
        UnixStream::connect(user.directory.join("circusd.sock")).expect("it answers");
        let mut command = home.circusctl(&["--json", "list"]);
        user.play(&mut command);
        let listed = output(command);
        assert!(listed.status.success(), "{listed:?}");
        assert!(daemon.stop().success());
    }
}

#[test]
fn a_directory_that_somebody_else_has_made_is_refused() {
    let Some(user) = User::new(1) else { return };
    let home = user.home();
    fs::create_dir(&user.directory).expect("it is not there");
    // As whoever waits for the user would make it: open to all, so that nothing looks amiss.
    fs::set_permissions(&user.directory, fs::Permissions::from_mode(0o777)).expect("it is ours");
    let complaint = user.refused(&home);
    assert!(complaint.contains("belongs to"), "{complaint}");
    let inside = fs::read_dir(&user.directory).expect("it is ours");
    assert_eq!(inside.count(), 0, "something was left there");
}

#[test]
fn a_directory_that_others_may_write_to_is_refused() {
    let Some(user) = User::new(2) else { return };
    let home = user.home();
    fs::create_dir(&user.directory).expect("it is not there");
    chown(&user.directory, Some(user.uid), Some(user.uid)).expect("root may");
    fs::set_permissions(&user.directory, fs::Permissions::from_mode(0o770)).expect("root may");
    user.refused(&home);
}

#[test]
fn a_link_in_its_place_is_refused() {
    let Some(user) = User::new(3) else { return };
    let home = user.home();
    let elsewhere = home.path("elsewhere");
    fs::create_dir(&elsewhere).expect("a directory can be made");
    chown(&elsewhere, Some(user.uid), Some(user.uid)).expect("root may");
    std::os::unix::fs::symlink(&elsewhere, &user.directory).expect("a link can be made");
    user.refused(&home);
}
