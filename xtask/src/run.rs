//! `run`: from a fresh checkout to a prompt. Builds both programs, starts the server as root, runs the client,
//! stops the server when the client ends.
//!
//! The server lives as long as our end of a pipe (see [`SUPERVISOR`]): however this job ends, no root process stays.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use signal_hook::consts::SIGINT;

use crate::{command, packages, workspace};

const USUAL_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const DEMO_TRACE: &str = "netspy-server/traces/demo.netspy";
/// Loading and verifying the programs takes most of it.
const START_LIMIT: Duration = Duration::from_secs(20);
/// After SIGTERM: the store writes what it still holds.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Runs the server (`$@`) until stdin closes, then sends SIGTERM. A plain user must not signal a process that sudo
/// started, and sudo's permission may have expired by the time the client ends; closing a pipe needs neither.
const SUPERVISOR: &str = r#"exec 3<&0
"$@" </dev/null 3<&- & server=$!
{ cat <&3 >/dev/null 2>&1; kill -TERM "$server" 2>/dev/null; } >/dev/null 2>&1 &
exec 3<&-
wait "$server""#;

/// Options of `run`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Build with optimisation
    #[arg(long)]
    release: bool,
    /// Arguments of the client (a prompt if none). A leading `--replay [FILE]` serves a recorded trace instead of
    /// this machine, which needs neither root nor Linux
    #[arg(last = true)]
    client: Vec<OsString>,
}

/// The client's exit code.
pub(crate) fn job(arguments: &Arguments) -> Result<ExitCode> {
    let root = workspace::root()?;
    let (replay, client_arguments) = split_replay(&root, &arguments.client);
    let privilege = if replay.is_some() { Privilege::NotNeeded } else { Privilege::find(&root)? };
    let programs = build(&root, arguments.release)?;
    let mut server = Server::start(&root, &programs, privilege, replay.as_deref())?;
    server.wait_until_healthy()?;
    // The prompt handles Ctrl-C itself; we must outlive it to stop the server. A handler, unlike SIG_IGN, does
    // not pass on to the client.
    signal_hook::flag::register(SIGINT, Arc::new(AtomicBool::new(false)))?;
    let mut client = Command::new(programs.join("netspy"));
    client.arg("--server").arg(format!("http://{}", server.address)).args(client_arguments);
    let status =
        client.status().with_context(|| format!("cannot start {}", programs.join("netspy").display()))?;
    server.stop()?;
    Ok(exit_code(status))
}

/// The trace to replay, if any, and what remains for the client. The word after `--replay` is the trace if it looks
/// like a file; otherwise it is the client's command.
fn split_replay<'a>(root: &Path, client: &'a [OsString]) -> (Option<PathBuf>, &'a [OsString]) {
    match client {
        [flag, file, rest @ ..] if flag == "--replay" && looks_like_trace(file) => (Some(file.into()), rest),
        [flag, rest @ ..] if flag == "--replay" => (Some(root.join(DEMO_TRACE)), rest),
        _ => (None, client),
    }
}

fn looks_like_trace(word: &OsString) -> bool {
    let path = Path::new(word);
    path.extension().is_some_and(|extension| extension == "netspy")
        || path.components().count() > 1
        || path.is_file()
}

/// Builds both programs; the directory that they are in.
fn build(root: &Path, release: bool) -> Result<PathBuf> {
    let mut cargo = command::cargo(root);
    cargo.args(["build", "--package", "netspy-server", "--bin", "netspy-server"]);
    cargo.args(["--package", "netspy-cli", "--bin", "netspy"]).args(release.then_some("--release"));
    command::run(&mut cargo)?;
    Ok(workspace::target(root).join(if release { "release" } else { "debug" }))
}

/// How the server gets what it needs from the kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Privilege {
    NotNeeded,
    AlreadyRoot,
    Sudo,
}

impl Privilege {
    fn find(root: &Path) -> Result<Self> {
        if !cfg!(target_os = "linux") {
            bail!(
                "live events come from the Linux kernel, and this is {}. A recorded trace works here:\n    \
                cargo xtask run -- --replay",
                std::env::consts::OS
            );
        }
        if packages::is_root()? {
            return Ok(Self::AlreadyRoot);
        }
        if workspace::find_program(root, "sudo").is_none() {
            bail!(
                "the server must start as root (it loads eBPF programs), you are not root, and sudo is not \
                installed. One of these helps:\n    su -c 'cargo xtask run'\n    su -c 'apt-get install sudo && adduser \
                {} sudo', then log in again\n    cargo xtask run -- --replay      (a recorded trace, no root)",
                std::env::var("USER").unwrap_or_else(|_| "YOU".to_owned())
            );
        }
        // Asks for the password now, in the foreground: later the server is not the terminal's.
        println!("the server needs root to load eBPF programs; sudo may ask for your password");
        command::run(Command::new("sudo").arg("--validate"))
            .context("sudo refused: without root try `-- --replay`")?;
        Ok(Self::Sudo)
    }
}

/// A started server.
struct Server {
    address: SocketAddr,
    log: PathBuf,
    process: Child,
}

impl Server {
    fn start(root: &Path, programs: &Path, privilege: Privilege, replay: Option<&Path>) -> Result<Self> {
        let directory = workspace::target(root).join("run");
        fs::create_dir_all(&directory)?;
        let log = directory.join("server.log");
        let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let address = free_address()?;
        let mut command = Command::new(if privilege == Privilege::Sudo { "sudo" } else { "sh" });
        if privilege == Privilege::Sudo {
            command.args(["--non-interactive", "sh"]);
        }
        command.args(["-c", SUPERVISOR, "netspy-server"]).arg(programs.join("netspy-server"));
        command.arg("--listen").arg(address.to_string());
        command.arg("--db").arg(directory.join(if replay.is_some() { "replay.db" } else { "netspy.db" }));
        if let Some(trace) = replay {
            remove_database(&directory.join("replay.db"))?;
            command.arg("--replay").arg(trace);
        }
        command.stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(output);
        // Its own process group: Ctrl-C at the prompt is for the client.
        let process = command.process_group(0).spawn().context("cannot start the server")?;
        Ok(Self { address, log, process })
    }

    fn wait_until_healthy(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline {
            if let Some(status) = self.process.try_wait()? {
                bail!(
                    "the server ended at once ({status}):\n{}\nlog: {}",
                    self.end_of_log(),
                    self.log.display()
                );
            }
            if answers(self.address) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        let (limit, log) = (START_LIMIT.as_secs(), self.log.display());
        bail!(
            "the server does not answer on {} after {limit} s:\n{}\nlog: {log}",
            self.address,
            self.end_of_log()
        );
    }

    fn end_of_log(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// SIGTERM, by closing the supervisor's stdin; then waits for the end.
    fn stop(&mut self) -> Result<()> {
        drop(self.process.stdin.take());
        let deadline = Instant::now() + STOP_LIMIT;
        while Instant::now() < deadline {
            if let Some(status) = self.process.try_wait()? {
                if !ended_as_asked(status) {
                    eprintln!("warning: the server ended with {status}; log: {}", self.log.display());
                }
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        bail!(
            "the server has not stopped {} s after SIGTERM; log: {}",
            STOP_LIMIT.as_secs(),
            self.log.display()
        );
    }
}

/// A replay starts from nothing: yesterday's rows would be counted twice.
fn remove_database(file: &Path) -> Result<()> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        match fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", name.to_string_lossy()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The usual address if nobody listens there, else any free port.
fn free_address() -> Result<SocketAddr> {
    if TcpListener::bind(USUAL_ADDRESS).is_ok() {
        return Ok(USUAL_ADDRESS);
    }
    let address =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")?.local_addr()?;
    println!("{USUAL_ADDRESS} is taken; the server listens on {address}");
    Ok(address)
}

/// Whether `/health` gives an HTTP answer. Any status will do: a degraded server tells the client why by itself.
fn answers(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(stream, "GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut start = [0; 7];
        stream.read_exact(&mut start)?;
        Ok(&start == b"HTTP/1.")
    };
    ask().unwrap_or(false)
}

/// 143 is what a shell makes of a child's death by SIGTERM: a server without a handler for it.
fn ended_as_asked(status: ExitStatus) -> bool {
    status.success() || status.code() == Some(143)
}

/// The client's code; for one killed by a signal what a shell would make of it (130 after Ctrl-C).
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};

    use super::*;

    fn words(list: &[&str]) -> Vec<OsString> {
        list.iter().map(OsString::from).collect()
    }

    fn split(list: &[&str]) -> (Option<PathBuf>, Vec<OsString>) {
        let list = words(list);
        let (trace, rest) = split_replay(Path::new("/w"), &list);
        (trace, rest.to_vec())
    }

    #[test]
    fn replay_is_the_jobs_and_the_rest_is_the_clients() {
        let demo = Some(PathBuf::from("/w").join(DEMO_TRACE));
        assert_eq!(split(&[]), (None, vec![]));
        assert_eq!(split(&["list", "--replay"]), (None, words(&["list", "--replay"])));
        assert_eq!(split(&["--replay"]), (demo.clone(), vec![]));
        assert_eq!(split(&["--replay", "list", "--failed"]), (demo.clone(), words(&["list", "--failed"])));
        assert_eq!(split(&["--replay", "--tool", "x"]), (demo, words(&["--tool", "x"])));
        assert_eq!(split(&["--replay", "mine.netspy", "why"]), (Some("mine.netspy".into()), words(&["why"])));
        assert_eq!(split(&["--replay", "a/trace"]), (Some("a/trace".into()), vec![]));
    }

    fn supervised(script: &str) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", SUPERVISOR, "netspy-server", "sh", "-c", script]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    }

    #[test]
    fn closing_the_pipe_terminates_the_server() {
        let mut child =
            supervised("trap 'echo terminated; exit 0' TERM; echo up; while :; do sleep 0.05; done");
        let mut up = [0; 3];
        child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
        drop(child.stdin.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "terminated\n");
        assert!(output.status.success());
    }

    #[test]
    fn a_server_that_ends_by_itself_is_noticed_while_the_pipe_is_open() {
        let mut child = supervised("exit 7");
        let stdin = child.stdin.take();
        assert_eq!(child.wait().unwrap().code(), Some(7));
        drop(stdin);
    }

    #[test]
    fn only_an_http_answer_counts() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            for reply in ["garbage", "HTTP/1.1 503 Service Unavailable\r\n\r\n"] {
                let (mut stream, _) = listener.accept().unwrap();
                // The whole request: closing with unread bytes would reset the connection.
                let request: Vec<String> = BufReader::new(&stream)
                    .lines()
                    .map(Result::unwrap)
                    .take_while(|line| !line.is_empty())
                    .collect();
                assert!(request[0].starts_with("GET /health "), "{request:?}");
                stream.write_all(reply.as_bytes()).unwrap();
            }
        });
        assert!(!answers(address));
        assert!(answers(address));
        server.join().unwrap();
    }
}
