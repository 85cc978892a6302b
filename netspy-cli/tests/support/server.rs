//! The real netspy-server.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The server, as another package of the workspace builds it.
fn server_binary() -> PathBuf {
    let built = Command::new(env!("CARGO")).args(["build", "--quiet", "--package", "netspy-server"]).status();
    assert!(built.unwrap().success());
    Path::new(env!("CARGO_BIN_EXE_netspy")).with_file_name("netspy-server")
}

/// Ends with the test.
pub struct Server {
    child: Child,
    pub url: String,
    _directory: tempfile::TempDir,
}

impl Server {
    /// With the recording that ships: every answer is known.
    pub fn replaying() -> Self {
        let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../netspy-server/traces/demo.netspy");
        Self::start(&["--replay", demo])
    }

    /// The same at a port where it may have been before.
    pub fn replaying_again(earlier_url: &str) -> Self {
        let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../netspy-server/traces/demo.netspy");
        let port = earlier_url.rsplit_once(':').unwrap().1;
        Self::start_at(port, &["--replay", demo])
    }

    pub fn start(words: &[&str]) -> Self {
        Self::start_at("0", words)
    }

    fn start_at(port: &str, words: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(server_binary());
        command.args(["--port", port, "--db"]).arg(directory.path().join("history.db")).args(words);
        let mut child = command.env("TZ", "UTC").stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let serving = log.find_map(|line| Some(line.split_once("serving on ")?.1.trim().to_owned()));
        std::thread::spawn(move || log.for_each(drop));
        Self { child, url: serving.unwrap(), _directory: directory }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
