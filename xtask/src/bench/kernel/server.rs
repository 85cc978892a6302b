//! The server under test: its release build with a history of its own on disk, started as a user starts it and
//! asked over HTTP.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::ledger::Ledger;
use super::workload::Workload;

/// Loading and verifying the programs takes most of it.
const START_LIMIT: Duration = Duration::from_secs(30);
/// A server that is behind answers with an error; it gets this long to catch up.
const ANSWER_LIMIT: Duration = Duration::from_mins(5);
const STOP_LIMIT: Duration = Duration::from_mins(1);
/// Every answer is about everything since the server started.
const WINDOW_SECONDS: u32 = 86_400;
/// What the workloads make of events: without one of them the server would have less to do.
const EVENTS: [&str; 6] = ["connection", "accept", "udp", "packet_drop", "reset_sent", "reset_received"];

/// Refuses to measure a server that does not trace what the workloads make.
fn check_traced(health: &Value) -> Result<()> {
    let programs = health["programs"].as_array().map(Vec::as_slice).unwrap_or_default();
    for event in EVENTS {
        let found = programs.iter().find(|program| program["name"] == event);
        let program = found.with_context(|| format!("/health names no event {event}: {health}"))?;
        ensure!(program["status"] == "active", "the server does not trace {event}: {}", program["note"]);
    }
    Ok(())
}

/// A running server.
pub(super) struct Server {
    process: Child,
    directory: PathBuf,
    url: String,
    /// A connection for each question: the server would end one that is idle, while it is watched whether anything happens.
    agent: ureq::Agent,
}

impl Server {
    /// Starts `program` with an empty history in `directory` and waits until it serves.
    pub(super) fn start(program: &Path, directory: &Path) -> Result<Self> {
        let _ = fs::remove_dir_all(directory);
        fs::create_dir_all(directory)?;
        let log_file = directory.join("server.log");
        let log = File::create(&log_file)?;
        let process = Command::new(program)
            .args(["--port", "0", "--db"])
            .arg(directory.join("netspy.db"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(ANSWER_LIMIT))
            .max_idle_connections(0)
            .build()
            .into();
        let mut server = Self { process, directory: directory.to_owned(), url: String::new(), agent };
        server.url = server.wait_until_serving(&log_file)?;
        check_traced(&server.health()?)?;
        Ok(server)
    }

    fn wait_until_serving(&mut self, log: &Path) -> Result<String> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let said = fs::read_to_string(log)?;
            if let Some((_, rest)) = said.split_once("serving on ")
                && let Some((address, _)) = rest.split_once('\n')
            {
                return Ok(address.trim().to_owned());
            }
            if let Some(status) = self.process.try_wait()? {
                bail!("the server ended at once ({status}):\n{said}");
            }
            ensure!(Instant::now() < deadline, "the server does not serve after {START_LIMIT:?}:\n{said}");
            sleep(Duration::from_millis(10));
        }
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Bytes of its history on disk.
    pub(super) fn history_bytes(&self) -> Result<u64> {
        let mut bytes = 0;
        for file in fs::read_dir(&self.directory)? {
            bytes += file?.metadata()?.len();
        }
        Ok(bytes)
    }

    /// What `/health` says.
    pub(super) fn health(&mut self) -> Result<Value> {
        self.ask("/health", &json!({}))
    }

    /// What it has recorded and lost. The answer holds everything that happened before the question.
    pub(super) fn ledger(&mut self, workload: Workload) -> Result<Ledger> {
        let mine = json!({ "command": workload.process(), "duration_seconds": WINDOW_SECONDS });
        let connections = self.ask("/api/connection-summary", &mine)?;
        let drops = self.ask("/api/packet-drop-summary", &json!({ "duration_seconds": WINDOW_SECONDS }))?;
        Ledger::read(&connections, &drops)
            .with_context(|| format!("not the answers that were expected: {connections} {drops}"))
    }

    /// Connections of all processes since the server started.
    pub(super) fn connections(&mut self) -> Result<u64> {
        self.count("/api/connection-summary", &json!({ "duration_seconds": WINDOW_SECONDS }))
    }

    /// Connections and drops of all processes in so many seconds until one second ago: the connection that asks is one of
    /// them.
    pub(super) fn events_within(&mut self, seconds: u64) -> Result<u64> {
        let window = json!({ "since": format!("{}s", seconds + 1), "until": "1s" });
        Ok(self.count("/api/connection-summary", &window)?
            + self.count("/api/packet-drop-summary", &window)?)
    }

    fn count(&mut self, path: &str, window: &Value) -> Result<u64> {
        let answer = self.ask(path, window)?;
        answer["count"].as_u64().with_context(|| format!("an answer without a count: {answer}"))
    }

    fn ask(&mut self, path: &str, question: &Value) -> Result<Value> {
        let (url, deadline) = (format!("{}{path}", self.url), Instant::now() + ANSWER_LIMIT);
        loop {
            let answer = match path {
                "/health" => self.agent.get(&url).call(),
                _ => self.agent.post(&url).send_json(question),
            };
            match answer {
                Ok(mut answer) => return Ok(answer.body_mut().read_json()?),
                // Busy writing what it has: the answer would not be complete yet.
                Err(ureq::Error::StatusCode(500..)) if Instant::now() < deadline => {
                    sleep(Duration::from_millis(500));
                }
                Err(error) => return Err(error).with_context(|| format!("{path}: no answer")),
            }
        }
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.process), signal)?)
    }

    /// SIGTERM; the server must write what it has and end with 0. Its history is removed.
    pub(super) fn stop(mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        let deadline = Instant::now() + STOP_LIMIT;
        while Instant::now() < deadline {
            if let Some(status) = self.process.try_wait()? {
                ensure!(status.success(), "the server ended with {status}; see {}", self.directory.display());
                return Ok(fs::remove_dir_all(&self.directory)?);
            }
            sleep(Duration::from_millis(10));
        }
        bail!("the server has not stopped {STOP_LIMIT:?} after SIGTERM; see {}", self.directory.display());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(None) = self.process.try_wait() {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_traces_less_than_is_measured_is_refused() {
        let health = |status: &str| {
            let program = |name: &&str| json!({ "name": name, "status": status, "note": "no kprobes" });
            json!({ "programs": EVENTS.iter().map(program).collect::<Vec<_>>() })
        };
        check_traced(&health("active")).unwrap();
        let error = check_traced(&health("inactive")).unwrap_err().to_string();
        assert_eq!(error, r#"the server does not trace connection: "no kprobes""#);
        assert!(check_traced(&json!({})).is_err());
    }
}
