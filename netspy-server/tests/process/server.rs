//! A server as a process of its own.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The user id of nobody on every Linux.
pub const NOBODY: u32 = 65_534;

pub fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("traces/demo.netspy")
}

/// The server binary, where another user can reach it too.
pub struct Installed(pub TempDir);

impl Installed {
    pub fn new() -> Self {
        let directory = TempDir::new().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_netspy-server"), directory.path().join("netspy-server")).unwrap();
        fs::copy(demo(), directory.path().join("demo.netspy")).unwrap();
        Self(directory)
    }

    /// The server with these words, in that directory, untouched by the environment of the test.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.0.path().join("netspy-server"));
        command.args(words).current_dir(self.0.path());
        command
    }

    /// A recording, served on a port of its own.
    pub fn replay(&self, words: &[&str]) -> Running {
        Running::start(&mut self.command(&[&["--port", "0", "--replay", "demo.netspy"], words].concat()))
    }

    /// Absolute path of a file in that directory.
    pub fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.0.path().join(Path::new(name.as_ref()))
    }

    pub fn fails(&self, words: &[&str]) -> String {
        failure(&self.command(words).output().unwrap())
    }
}

/// Standard error of a run that must have failed with exit code 1.
pub fn failure(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    text
}

/// A server that is serving.
pub struct Running {
    pub child: Child,
    /// Where it said first that it serves.
    pub url: String,
    log: Arc<Mutex<String>>,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let url = loop {
            let Some(Ok(line)) = lines.next() else { panic!("the server ended: {:?}\n{said}", child.wait()) };
            said.push_str(&(line.clone() + "\n"));
            if let Some((_, place)) = line.split_once("serving on ") {
                break place.trim().to_owned();
            }
        };
        let log = Arc::new(Mutex::new(said));
        let more = log.clone();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                more.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        Self { child, url, log }
    }

    /// What it said so far, which must come to contain `text`.
    #[track_caller]
    pub fn said(&self, text: &str) -> String {
        let begun = Instant::now();
        loop {
            let log = self.log.lock().unwrap().clone();
            if log.contains(text) {
                return log;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "it never said {text:?}:\n{log}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its host and port.
    pub fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// A field of `/proc/PID/status`.
    pub fn status(&self, field: &str) -> String {
        status_of(&format!("/proc/{}/status", self.child.id()), field)
    }

    /// Its exit code.
    pub fn stop(mut self, signal: Signal) -> Option<i32> {
        self.signal(signal);
        self.child.wait().unwrap().code()
    }
}

/// A test that fails leaves no server.
impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A field of a `status` file, proc(5).
pub fn status_of(file: &str, field: &str) -> String {
    let status = fs::read_to_string(file).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap().trim().to_owned()
}
