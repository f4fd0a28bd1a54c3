//! `logger`: every event is a line of a file.
//!
//! A line is written before the next event is taken, and holds the cursor: so a logger that was
//! killed goes on where the file ends.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use serde::Deserialize;

use crate::api::cursor::Cursor;
use crate::api::types::{Event, Gap};
use crate::config::plugins::{Form, LoggerSettings};
use crate::plugin::{Handle, Outcome, Plugin};

/// No line is longer: an event is a message, for which circusd has a limit, and a line of text holds
/// no more of it.
const LINE_BYTES_MAX: u64 = 2 << 20;

/// Those of the group may read it.
const MODE: u32 = 0o640;

/// The plugin.
#[derive(Debug)]
pub(super) struct Logger {
    settings: LoggerSettings,
    /// None until the first line, and where somebody moved it.
    file: Option<File>,
    since: Option<String>,
}

impl Logger {
    pub(super) fn new(settings: LoggerSettings) -> Self {
        Self {
            settings,
            file: None,
            since: None,
        }
    }

    fn path(&self) -> &Path {
        &self.settings.filename
    }

    /// The file that is now at the path, made if there is none.
    fn file(&mut self) -> io::Result<&mut File> {
        let is_there = |file: &File| {
            let (open, named) = (file.metadata()?, fs::metadata(&self.settings.filename)?);
            io::Result::Ok((open.dev(), open.ino()) == (named.dev(), named.ino()))
        };
        let known = self.file.take();
        let known = known.filter(|file| is_there(file).unwrap_or(false));
        let file = match known {
            Some(file) => file,
            None => open(self.path())?,
        };
        Ok(self.file.insert(file))
    }

    fn write(&mut self, mut line: String) -> io::Result<()> {
        line.push('\n');
        let most = self.settings.max_bytes.0;
        let size = self.file()?.metadata()?.len();
        if most > 0 && size > 0 && size + line.len() as u64 > most {
            self.turn_over()?;
        }
        // At once, so that a reader, or who comes after us, does not find half of it.
        let written = self.file()?.write_all(line.as_bytes());
        written.map_err(|error| named(error, self.path()))
    }

    /// Moves every file one number up; the last one goes.
    fn turn_over(&mut self) -> io::Result<()> {
        self.file = None;
        for number in (1..self.settings.backup_count).rev() {
            let older = backup(self.path(), number + 1);
            match fs::rename(backup(self.path(), number), older) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(self.path(), backup(self.path(), 1))
    }

    fn line(&self, event: &Event) -> serde_json::Result<String> {
        match self.settings.format {
            Form::Json => serde_json::to_string(event),
            Form::Text => {
                let data = serde_json::to_string(&event.data)?;
                Ok(format!("{} {} {data}", time(event.time_usec), event.topic))
            }
        }
    }
}

impl Plugin for Logger {
    fn name(&self) -> &str {
        "logger"
    }

    fn topics(&self) -> Option<Vec<String>> {
        Some(self.settings.topics.0.clone())
    }

    fn since(&self) -> Option<String> {
        self.since.clone()
    }

    async fn init(&mut self) -> Outcome {
        mend(self.path())?;
        self.file()?;
        if self.settings.format == Form::Json {
            // A file that was just turned over is empty.
            let last = last_cursor(self.path())?;
            self.since = match last {
                Some(cursor) => Some(cursor),
                None => last_cursor(&backup(self.path(), 1))?,
            };
        }
        Ok(())
    }

    async fn event(&mut self, event: Event, _handle: &Handle) -> Outcome {
        let line = self.line(&event)?;
        Ok(self.write(line)?)
    }

    async fn gap(&mut self, gap: Gap, cursor: &str, handle: &Handle) -> Outcome {
        handle.log(&format!(
            "the events {} to {} were missed and are not in the file",
            gap.first, gap.last
        ));
        let line = match self.settings.format {
            Form::Json => serde_json::json!({"cursor": cursor, "gap": gap}).to_string(),
            Form::Text => format!("gap from {} to {}", gap.first, gap.last),
        };
        Ok(self.write(line)?)
    }
}

/// Opens a file to append to it.
fn open(path: &Path) -> io::Result<File> {
    let mut options = directly();
    options.append(true).create(true).mode(MODE);
    let opened = options.open(path).and_then(only_a_file);
    opened.map_err(|error| named(error, path))
}

/// A way to open files, but not through a symbolic link, which others could turn elsewhere; and
/// without waiting for the other end of what turns out to be a pipe.
fn directly() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits());
    options
}

/// What is neither a file nor a device cannot hold lines.
fn only_a_file(file: File) -> io::Result<File> {
    let kind = file.metadata()?.file_type();
    match kind.is_file() || kind.is_char_device() {
        true => Ok(file),
        false => Err(io::Error::other("is no file")),
    }
}

fn named(error: io::Error, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("'{}': {error}", path.display()))
}

fn backup(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// What is at the end of a file, and where that begins; nothing without a file.
fn tail(path: &Path) -> io::Result<(Vec<u8>, u64)> {
    let mut file = match directly().read(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        opened => opened
            .and_then(only_a_file)
            .map_err(|error| named(error, path))?,
    };
    if !file.metadata()?.is_file() {
        return Ok((Vec::new(), 0));
    }
    let start = file.metadata()?.len().saturating_sub(LINE_BYTES_MAX);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok((bytes, start))
}

/// Takes off the part of a line at the end, of one who was killed while he wrote it: the event comes
/// again.
fn mend(path: &Path) -> io::Result<()> {
    let (bytes, start) = tail(path)?;
    if bytes.last().is_none_or(|last| *last == b'\n') {
        return Ok(());
    }
    let whole = bytes.iter().rposition(|byte| *byte == b'\n');
    let end = start + whole.map_or(0, |at| at as u64 + 1);
    directly().write(true).open(path)?.set_len(end)
}

/// The cursor of the last line in the file, be it an event or a gap.
fn last_cursor(path: &Path) -> io::Result<Option<String>> {
    #[derive(Deserialize)]
    struct Line {
        cursor: String,
    }
    let (bytes, _) = tail(path)?;
    let lines = bytes.split(|byte| *byte == b'\n').rev();
    let cursors = lines.filter_map(|line| serde_json::from_slice::<Line>(line).ok());
    let mut good = cursors.filter(|line| line.cursor.parse::<Cursor>().is_ok());
    Ok(good.next().map(|line| line.cursor))
}

/// A point in time as RFC 3339 has it, in UTC.
fn time(usec: u64) -> String {
    let time = i64::try_from(usec).map(jiff::Timestamp::from_microsecond);
    match time {
        Ok(Ok(time)) => format!("{time:.6}"),
        _ => usec.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::topic::Filter;
    use crate::config::plugins::{BuiltIn, read_settings};

    #[test]
    fn half_a_line_is_taken_off_and_the_last_whole_one_is_gone_on_from() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let line = |seq: u32| format!("{{\"cursor\":\"i:{seq}\"}}\n");
        let check = |text: &str, mended: &str, cursor: Option<&str>| {
            fs::write(&path, text).unwrap();
            mend(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), mended);
            assert_eq!(last_cursor(&path).unwrap().as_deref(), cursor);
        };
        check("", "", None);
        check("{\"cur", "", None);
        check(&(line(1) + &line(2)), &(line(1) + &line(2)), Some("i:2"));
        check(&(line(1) + "{\"cursor\":\"i:2"), &line(1), Some("i:1"));
        check(
            &(line(1) + "{\"cursor\":\"i:9\",\"gap\":{}}\n"),
            &(line(1) + "{\"cursor\":\"i:9\",\"gap\":{}}\n"),
            Some("i:9"),
        );
        check(
            "{\"cursor\":\"nonsense\"}\n",
            "{\"cursor\":\"nonsense\"}\n",
            None,
        );
        assert_eq!(last_cursor(&directory.path().join("none")).unwrap(), None);
    }

    #[test]
    fn topics_are_refused_as_circusd_would_refuse_them() {
        let long = "a".repeat(513);
        let (long_name, pattern) = (format!("watcher.{long}.x"), "watcher.[a-c]*.r?ap");
        let topics = [
            "*",
            "",
            ".",
            "*.spawn",
            "watcher",
            "watcher.*",
            "watcher.web.eu.reap",
            "circusd.*",
            "circusd.web.x",
            "w*.reap",
            "web.reap",
            "watcher..reap",
            "watcher.web.",
            "*.a.*",
            "watcher.we[.x",
            "watcher.a***.x",
            "[",
            "***",
            "watcher.[].x",
            "watcher.]",
            pattern,
            &long,
            &long_name,
        ];
        for topic in topics {
            let given = serde_json::json!({"filename": "/l", "topics": [topic]});
            let given = given.as_object().expect("an object");
            let read = read_settings(BuiltIn::Logger, given, &[], "/".as_ref());
            let known = Filter::parameter(Some(&[topic.to_owned()]));
            assert_eq!(read.is_ok(), known.is_ok(), "{topic}: {read:?}");
        }
    }

    #[test]
    fn a_link_is_not_followed_to_what_is_others() {
        let directory = tempfile::tempdir().unwrap();
        let (link, others) = (
            directory.path().join("log"),
            directory.path().join("others"),
        );
        fs::write(&others, "no line").unwrap();
        std::os::unix::fs::symlink(&others, &link).unwrap();
        assert!(mend(&link).is_err() && open(&link).is_err());
        assert_eq!(fs::read_to_string(&others).unwrap(), "no line");
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [directory.path(), &pipe] {
            let error = tail(path).expect_err("it is no file");
            assert_eq!(
                error.to_string(),
                format!("'{}': is no file", path.display())
            );
            assert!(open(path).is_err());
        }
        assert_eq!(tail("/dev/null".as_ref()).unwrap().0, b"");
        assert!(open("/dev/null".as_ref()).is_ok());
    }

    #[test]
    fn a_time_is_one_that_sorts() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(time(1_763_000_000_000_001), "2025-11-13T02:13:20.000001Z");
    }
}
