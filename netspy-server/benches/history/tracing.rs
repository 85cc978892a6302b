//! The API of the server as it is started, with its programs in the kernel, whose counts every question reads: the rest of this
//! measurement replays a recording, which has none.

use std::io::{BufRead as _, BufReader, Lines};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::http;

/// Asks it on a machine where nothing else happens, but for the clients.
pub(super) fn ask_all(directory: &Path) {
    let history = tempfile::tempdir_in(directory).unwrap();
    let server = Server::start(&history.path().join("netspy.db"));
    let bare = http::runtime();
    for target in
        ["/livez", "/api/connection-summary", "/api/list-connections", "/api/top?by=process&since=24h"]
    {
        http::compare("tracing", server.address, &bare, target);
    }
    server.stop();
}

struct Server {
    process: Child,
    address: SocketAddr,
    /// Open until it ends, as it writes there.
    _log: Lines<BufReader<ChildStderr>>,
}

impl Server {
    fn start(history: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netspy-server"));
        command.args(["--port", "0", "--db"]).arg(history).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut said = log.by_ref().map_while(Result::ok).inspect(|line| eprintln!("{line}"));
        let url = said.find_map(|line| Some(line.split_once("serving on http://")?.1.to_owned()));
        let Some(url) = url else { panic!("the server needs root: {}", process.wait().unwrap()) };
        Self { process, address: url.trim().parse().unwrap(), _log: log }
    }

    fn stop(mut self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        assert!(self.process.wait().unwrap().success());
    }
}
