//! The server under test, and what it answers.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, OnceLock},
    thread::JoinHandle,
};

use netspy_api::{
    Client, ConnectionEvent, ConnectionSummary, DropEvent, DropSummary, Health, ListRequest, Lost,
    SummaryRequest,
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;

/// A server that serves.
pub struct Server {
    child: Mutex<Option<Child>>,
    client: Client,
    runtime: Runtime,
    said: Arc<Mutex<String>>,
    listener: Mutex<Option<JoinHandle<()>>>,
    _database: tempfile::TempDir,
}

static SHARED: OnceLock<Server> = OnceLock::new();

/// The one server that scenarios share in this test process, started when first needed.
fn shared() -> &'static Server {
    SHARED.get_or_init(|| Server::start(&[]))
}

/// The rung that this run forces, if any.
fn forced_rung() -> Option<String> {
    std::env::var("NETSPY_RUNG").ok()
}

impl Server {
    /// Starts one on a port and with a history of its own, and waits until it serves.
    pub fn start(words: &[&str]) -> Self {
        let binary = std::env::var("NETSPY_SERVER_BIN")
            .unwrap_or_else(|_| env!("CARGO_BIN_EXE_netspy-server").to_owned());
        let database = tempfile::tempdir().unwrap();
        let mut command = Command::new(&binary);
        command.args(["--port", "0", "--db"]).arg(database.path().join("live.db"));
        command.args(words).stderr(Stdio::piped());
        if let Some(rung) = forced_rung() {
            command.args(["--hooks", &rung]);
        }
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {binary}: {error}"));
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = String::new();
        let url = loop {
            let Some(Ok(line)) = log.next() else { panic!("the server did not start:\n{seen}") };
            seen.push_str(&line);
            seen.push('\n');
            if let Some((_, address)) = line.split_once("serving on ") {
                break address.trim().to_owned();
            }
        };
        let said = Arc::new(Mutex::new(seen));
        let more = Arc::clone(&said);
        let listener = std::thread::spawn(move || {
            for line in log.map_while(Result::ok) {
                if line.contains("WARN") || line.contains("ERROR") {
                    eprintln!("server: {line}");
                }
                more.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        let (client, runtime) = (Client::new(&url).unwrap(), Runtime::new().unwrap());
        Self {
            child: Mutex::new(Some(child)),
            client,
            runtime,
            said,
            listener: Mutex::new(Some(listener)),
            _database: database,
        }
    }

    /// What `/health` says.
    pub fn health(&self) -> Health {
        self.runtime.block_on(self.client.health()).unwrap()
    }

    /// Connections of a process, or of processes or threads of a name, oldest first. Nothing may be lost.
    pub fn connections(&self, pid: Option<u32>, name: Option<&str>) -> Vec<ConnectionEvent> {
        let command = name.map(str::to_owned);
        let request = ListRequest { pid, command, limit: Some(10_000), ..ListRequest::default() };
        let answer = self.runtime.block_on(self.client.list_connections(&request)).unwrap();
        assert_eq!(answer.lost, Some(Lost::default()), "something was lost");
        let mut events: Vec<_> = answer.events_by_pid.into_values().flatten().collect();
        events.sort_by_key(|event| event.timestamp);
        events
    }

    /// The newest drops of the last hour, oldest first. Nothing may be lost.
    pub fn drops(&self) -> Vec<DropEvent> {
        let request = ListRequest { limit: Some(10_000), ..ListRequest::default() };
        let answer = self.runtime.block_on(self.client.list_packet_drops(&request)).unwrap();
        assert_eq!(answer.lost, Some(Lost::default()), "something was lost");
        let mut events: Vec<_> = answer.events_by_pid.into_values().flatten().collect();
        events.sort_by_key(|event| event.timestamp);
        events
    }

    /// How many attempts processes of this name made, by outcome, and what was lost meanwhile.
    pub fn summary(&self, name: &str) -> ConnectionSummary {
        let command = Some(name.to_owned());
        let request = SummaryRequest { command, duration_seconds: Some(3600), ..SummaryRequest::default() };
        self.runtime.block_on(self.client.connection_summary(&request)).unwrap()
    }

    /// How many packets were dropped, and what was lost meanwhile.
    pub fn drop_summary(&self) -> DropSummary {
        let request = SummaryRequest { duration_seconds: Some(3600), ..SummaryRequest::default() };
        self.runtime.block_on(self.client.drop_summary(&request)).unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let child = self.child.lock().unwrap();
        kill_process(Pid::from_child(child.as_ref().unwrap()), signal).unwrap();
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Tells it to stop; its exit code.
    pub fn stop(&self) -> Option<i32> {
        self.signal(Signal::TERM);
        let mut child = self.child.lock().unwrap().take().unwrap();
        let code = child.wait().unwrap().code();
        self.listener.lock().unwrap().take().unwrap().join().unwrap();
        code
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What `/health` says.
pub fn health() -> Health {
    shared().health()
}

/// The rung that connects are traced on; also makes sure that the server runs before something happens.
pub fn rung() -> String {
    let connection = health().programs.into_iter().find(|program| program.name == "connection").unwrap();
    assert_eq!(connection.status, "active", "{}", connection.note);
    if let Some(forced) = forced_rung() {
        assert_eq!(connection.rung, forced, "{}", connection.note);
    }
    connection.rung
}

/// Connections of a process, oldest first.
pub fn connections_of(pid: u32) -> Vec<ConnectionEvent> {
    shared().connections(Some(pid), None)
}

/// Connections of processes or threads of this name, oldest first.
pub fn connections_named(name: &str) -> Vec<ConnectionEvent> {
    shared().connections(None, Some(name))
}

/// Drops, oldest first.
pub fn drops() -> Vec<DropEvent> {
    shared().drops()
}

/// The shared server ends with exit code 0 when it is told to.
pub fn stops_cleanly() {
    rung();
    assert_eq!(shared().stop(), Some(0));
}

/// Ends the shared server if it still runs: statics are not dropped.
pub fn end() {
    if let Some(server) = SHARED.get().filter(|server| server.child.lock().unwrap().is_some()) {
        server.stop();
    }
}
