//! The server under test, and what it answers.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Mutex, OnceLock},
};

use netspy_api::{Client, ConnectionEvent, DropEvent, Health, ListRequest, Lost};
use tokio::runtime::Runtime;

struct Server {
    child: Mutex<Option<Child>>,
    client: Client,
    runtime: Runtime,
}

static SERVER: OnceLock<Server> = OnceLock::new();

/// The one server of this test process, started when first needed.
fn server() -> &'static Server {
    SERVER.get_or_init(start)
}

/// The rung that this run forces, if any.
fn forced_rung() -> Option<String> {
    std::env::var("NETSPY_RUNG").ok()
}

fn start() -> Server {
    let binary = std::env::var("NETSPY_SERVER_BIN")
        .unwrap_or_else(|_| env!("CARGO_BIN_EXE_netspy-server").to_owned());
    let database = std::env::temp_dir().join(format!("netspy-live-{}.db", std::process::id()));
    let mut command = Command::new(&binary);
    command.args(["--port", "0", "--db"]).arg(&database).stderr(Stdio::piped());
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
    // What it says from here on belongs to the test's output.
    std::thread::spawn(move || log.map_while(Result::ok).for_each(|line| eprintln!("server: {line}")));
    let runtime = Runtime::new().unwrap();
    Server { child: Mutex::new(Some(child)), client: Client::new(&url).unwrap(), runtime }
}

/// What `/health` says.
pub fn health() -> Health {
    let server = server();
    server.runtime.block_on(server.client.health()).unwrap()
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

/// Connections of a process, oldest first, and what was lost meanwhile.
pub fn connections_of(pid: u32) -> Vec<ConnectionEvent> {
    connections(&ListRequest { pid: Some(pid), ..ListRequest::default() })
}

/// Connections of processes or threads of this name, oldest first.
pub fn connections_named(name: &str) -> Vec<ConnectionEvent> {
    connections(&ListRequest { command: Some(name.to_owned()), ..ListRequest::default() })
}

fn connections(request: &ListRequest) -> Vec<ConnectionEvent> {
    let server = server();
    let request = ListRequest { limit: Some(10_000), ..request.clone() };
    let answer = server.runtime.block_on(server.client.list_connections(&request)).unwrap();
    assert_eq!(answer.lost, Some(Lost::default()), "something was lost");
    let mut events: Vec<_> = answer.events_by_pid.into_values().flatten().collect();
    events.sort_by_key(|event| event.timestamp);
    events
}

/// Every drop of the last hour, oldest first.
pub fn drops() -> Vec<DropEvent> {
    let server = server();
    let request = ListRequest { limit: Some(10_000), ..ListRequest::default() };
    let answer = server.runtime.block_on(server.client.list_packet_drops(&request)).unwrap();
    assert_eq!(answer.lost, Some(Lost::default()), "something was lost");
    assert!(!answer.truncated, "more drops than a list can hold");
    let mut events: Vec<_> = answer.events_by_pid.into_values().flatten().collect();
    events.sort_by_key(|event| event.timestamp);
    events
}

/// The server ends with exit code 0 when it is told to.
pub fn stops_cleanly() {
    rung();
    let mut child = server().child.lock().unwrap().take().unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// Ends the server if it still runs.
pub fn stop() {
    let Some(server) = SERVER.get() else { return };
    if let Some(mut child) = server.child.lock().unwrap().take() {
        let _ = child.kill();
        let _ = child.wait();
    }
}
