//! The server under test, and what it answers.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use netspy_api::{
    Client, ConnectionEvent, ConnectionSummary, DropEvent, DropSummary, Event, EventList, EventsRequest,
    Health, ListRequest, ListeningSocket, Lost, Program, Sampled, SummaryRequest, TroubleEvent,
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;

use crate::environment::{Environment, Prepared};

/// A server that serves.
pub struct Server {
    child: Mutex<Option<Child>>,
    client: Client,
    runtime: Runtime,
    said: Arc<Mutex<String>>,
    listener: Mutex<Option<JoinHandle<()>>>,
    /// Removed when the server goes.
    database: Option<tempfile::TempDir>,
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

/// Whether an event that has no better rung says why: kprobes are not tried where this run forces another rung.
pub fn says_why(program: &Program) -> bool {
    let tries_kprobes = forced_rung().is_none_or(|rung| rung == "kprobe");
    program.note.contains("fentry") && (program.note.contains("kprobe") || !tries_kprobes)
}

/// The server binary as a command: `job`, and the rung that this run forces.
fn server_program(job: &[&str], environment: &Prepared) -> Command {
    let binary =
        std::env::var("NETSPY_SERVER_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_netspy-server").to_owned());
    let mut command = Command::new(&binary);
    command.args(job);
    if let Some(rung) = forced_rung() {
        command.args(["--hooks", &rung]);
    }
    environment.surround(&mut command);
    command
}

/// The exit code and the report of `netspy-server doctor` in some surroundings.
pub fn doctor(environment: Environment) -> (Option<i32>, serde_json::Value) {
    let output = server_program(&["doctor", "-o", "json"], &environment.prepare()).output().unwrap();
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!complained.contains("panicked"), "{complained}");
    let report = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said:?} {complained}"));
    (output.status.code(), report)
}

/// What a server says that cannot start there.
pub fn fails_to_start(environment: Environment) -> String {
    let database = tempfile::tempdir().unwrap();
    let prepared = environment.prepare();
    let mut command = server_program(&[], &prepared);
    let output = command.args(["--port", "0", "--db"]).arg(database.path().join("live.db")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

impl Server {
    /// Starts one on a port and with a history of its own, and waits until it serves.
    pub fn start(words: &[&str]) -> Self {
        Self::start_in(Environment::default(), words)
    }

    /// The same in other surroundings.
    pub fn start_in(environment: Environment, words: &[&str]) -> Self {
        let database = tempfile::tempdir().unwrap();
        let mut server = Self::start_at(database.path(), &environment.prepare(), words);
        server.database = Some(database);
        server
    }

    /// The same with its history in this directory.
    pub fn start_at(database: &Path, environment: &Prepared, words: &[&str]) -> Self {
        let mut command = server_program(&[], environment);
        command.args(["--port", "0", "--db"]).arg(database.join("live.db"));
        command.args(words).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
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
            database: None,
        }
    }

    /// What `/health` says.
    pub fn health(&self) -> Health {
        self.runtime.block_on(self.client.health()).unwrap()
    }

    /// How an event is traced.
    pub fn program(&self, name: &str) -> Program {
        self.health().programs.into_iter().find(|program| program.name == name).unwrap()
    }

    /// The same, where it may be an error.
    pub fn try_health(&self) -> Result<Health, String> {
        self.runtime.block_on(self.client.health()).map_err(|error| format!("{error:?}"))
    }

    /// How often the kernel has skipped a program of it.
    fn skipped(&self) -> u64 {
        let lost = self.try_health().ok().and_then(|health| health.lost);
        lost.map_or(0, |lost| lost.by_place.get("skipped").copied().unwrap_or(0))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.lock().unwrap().as_ref().unwrap().id()
    }

    /// The newest connections of the last hour, oldest first. Nothing may be lost.
    pub fn connections(&self, pid: Option<u32>, name: Option<&str>) -> Vec<ConnectionEvent> {
        let (events, lost) = self.connections_and_loss(pid, name);
        assert_nothing_lost(&lost);
        events
    }

    /// The same, and what was lost.
    pub fn connections_and_loss(&self, pid: Option<u32>, name: Option<&str>) -> (Vec<ConnectionEvent>, Lost) {
        let command = name.map(str::to_owned);
        let request = ListRequest { pid, command, limit: Some(10_000), ..ListRequest::default() };
        let answer = self.runtime.block_on(self.client.list_connections(&request)).unwrap();
        let mut events: Vec<_> = answer.events_by_pid.into_values().flatten().collect();
        events.sort_by_key(|event| event.timestamp);
        (events, answer.lost.unwrap())
    }

    /// The newest drops of the last hour, oldest first. Nothing may be lost.
    pub fn drops(&self) -> Vec<DropEvent> {
        let request = ListRequest { limit: Some(10_000), ..ListRequest::default() };
        let answer = self.runtime.block_on(self.client.list_packet_drops(&request)).unwrap();
        let mut events: Vec<_> = answer.events_by_pid.into_values().flatten().collect();
        events.sort_by_key(|event| event.timestamp);
        assert_nothing_lost(&answer.lost.unwrap());
        events
    }

    /// Who listens at this moment.
    pub fn listeners(&self) -> Vec<ListeningSocket> {
        self.runtime.block_on(self.client.listeners()).unwrap().listeners
    }

    /// Drops of what was sent there.
    pub fn drops_to(&self, destination: &str) -> Vec<DropEvent> {
        let mut events = self.drops();
        events.retain(|drop| drop.destination.as_deref() == Some(destination));
        events
    }

    fn events(&self, event_type: &str, pid: Option<u32>) -> EventList {
        let list = ListRequest { pid, limit: Some(10_000), ..ListRequest::default() };
        let request = EventsRequest { event_type: Some(event_type.to_owned()), list };
        self.runtime.block_on(self.client.events(&request)).unwrap()
    }

    /// How many events of a type a process had, recorded or only counted.
    pub fn sampled(&self, event_type: &str, pid: u32) -> Sampled {
        self.events(event_type, Some(pid)).sampled.unwrap()
    }

    /// Troubles of a type, oldest first; of a process, if one is named. Nothing may be lost.
    pub fn troubles(&self, event_type: &str, pid: Option<u32>) -> Vec<TroubleEvent> {
        let answer = self.events(event_type, pid);
        assert_nothing_lost(&answer.lost.unwrap());
        let trouble = |event| match event {
            Event::Retransmit(trouble)
            | Event::ResetSent(trouble)
            | Event::ResetReceived(trouble)
            | Event::ListenOverflow(trouble) => trouble,
            other => panic!("not a trouble: {other:#?}"),
        };
        let mut events: Vec<_> = answer.events.into_iter().map(trouble).collect();
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

    /// Ends a stop, and waits until it has read what happened meanwhile. It may have cut the idle connection to its client:
    /// a new one must find room in the rings.
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
        std::thread::sleep(std::time::Duration::from_secs(3));
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
        if self.child.lock().unwrap().is_some() {
            // A scenario has failed: the kernel may have had a part in it.
            self.signal(Signal::CONT);
            SKIPPED.fetch_add(self.skipped(), Ordering::Relaxed);
        }
        if let Some(mut child) = self.child.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A busy kernel skips a program now and then, whose record then may lack its beginning: both are counted and are
/// nobody's fault. Anything else must not be lost unless a scenario means it.
fn assert_nothing_lost(lost: &Lost) {
    let excused = ["skipped", "orphaned"];
    let other: Vec<_> =
        lost.by_place.iter().filter(|(place, _)| !excused.contains(&place.as_str())).collect();
    assert!(other.is_empty(), "something was lost: {other:?}");
}

/// What `/health` says.
pub fn health() -> Health {
    shared().health()
}

/// Programs that the kernel skipped while scenarios failed that had a server of their own.
static SKIPPED: AtomicU64 = AtomicU64::new(0);

/// How often the kernel has skipped a program, as far as that was asked.
pub fn skipped() -> u64 {
    let running = SHARED.get().filter(|server| server.child.lock().unwrap().is_some());
    SKIPPED.load(Ordering::Relaxed) + running.map_or(0, Server::skipped)
}

/// The rung that connects are traced on; also makes sure that the server runs before something happens.
pub fn rung() -> String {
    let connection = program("connection");
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

/// Troubles of a type, oldest first; of a process, if one is named.
pub fn troubles(event_type: &str, pid: Option<u32>) -> Vec<TroubleEvent> {
    shared().troubles(event_type, pid)
}

/// How an event is traced.
pub fn program(name: &str) -> Program {
    shared().program(name)
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
