//! The other tools: how each is started, and how many attempts it has reported in the end.
//!
//! Each runs as its users run it, its output in a file. What cannot run here says so itself, and is reported with
//! what it said.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::workload::Workload;
use crate::packages::Package;
use crate::workspace;

/// Compiling and attaching.
const START_LIMIT: Duration = Duration::from_secs(20);
/// From the first sign of being attached to being attached everywhere.
const SETTLE: Duration = Duration::from_millis(500);
const SIGNAL_EVERY: Duration = Duration::from_secs(1);
/// For writing what it has buffered.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// tracefs, which the tools want, for the tool only: a mount namespace of its own.
const WITH_TRACEFS: &str = r#"mount -t tracefs nodev /sys/kernel/tracing 2>/dev/null; exec "$@""#;

/// What the tools come in.
pub(super) const PACKAGES: &[Package] = &[
    Package { debian: "bpftrace", provides: "bpftrace" },
    Package { debian: "libbpf-tools", provides: "tcplife" },
    Package { debian: "linux-perf", provides: "perf" },
    Package { debian: "strace", provides: "strace" },
];

/// A tool that shows some of what netspy shows.
pub(super) struct Peer {
    /// Its row's name.
    pub(super) name: &'static str,
    /// What it is run on.
    pub(super) shows: &'static [Workload],
    /// Stops the traced process at each call: only measured when asked for.
    pub(super) slow: bool,
    /// Program and arguments; `{file}` is its own output file, `{pid}` the generator.
    command: &'static [&'static str],
    /// Whether a line of its output is an attempt of this workload.
    is_attempt: fn(&str, Workload) -> bool,
}

use Workload::{Refused, Tcp, Udp};

/// Every peer.
pub(super) const ALL: &[Peer] = &[
    Peer {
        name: "bpftrace connect",
        shows: &[Tcp, Refused, Udp],
        slow: false,
        command: &[
            "bpftrace",
            "-e",
            r#"tracepoint:syscalls:sys_enter_connect { printf("%d %s %d\n", pid, comm, args->fd); }"#,
        ],
        is_attempt: by_process,
    },
    Peer {
        name: "bpftrace kfree_skb",
        shows: &[Refused],
        slow: false,
        command: &[
            "bpftrace",
            "-e",
            r#"tracepoint:skb:kfree_skb { printf("%d %s %d %lx\n", pid, comm, args->reason, args->location); }"#,
        ],
        is_attempt: by_process,
    },
    Peer {
        name: "perf record inet_sock_set_state",
        shows: &[Tcp, Refused],
        slow: false,
        command: &[
            "perf",
            "record",
            "-q",
            "-a",
            "-e",
            "sock:inet_sock_set_state",
            "-o",
            "{file}",
            "sleep",
            "1d",
        ],
        is_attempt: |line, workload| by_process(line, workload) && line.contains("newstate=TCP_SYN_SENT"),
    },
    Peer {
        name: "perf record kfree_skb",
        shows: &[Refused],
        slow: false,
        command: &["perf", "record", "-q", "-a", "-e", "skb:kfree_skb", "-o", "{file}", "sleep", "1d"],
        is_attempt: by_process,
    },
    Peer {
        name: "perf record sys_enter_connect",
        shows: &[Udp],
        slow: false,
        command: &[
            "perf",
            "record",
            "-q",
            "-a",
            "-e",
            "syscalls:sys_enter_connect",
            "-o",
            "{file}",
            "sleep",
            "1d",
        ],
        is_attempt: by_process,
    },
    Peer {
        name: "libbpf-tools tcpstates",
        shows: &[Tcp, Refused],
        slow: false,
        command: &["tcpstates"],
        is_attempt: |line, workload| by_process(line, workload) && line.contains("-> SYN_SENT"),
    },
    Peer {
        name: "libbpf-tools tcplife",
        shows: &[Tcp],
        slow: false,
        command: &["tcplife"],
        // PID COMM LADDR LPORT RADDR RPORT …: a line for each end; the client's has the listener as its remote end.
        is_attempt: |line, workload| line.split_whitespace().nth(5) == Some(&workload.port().to_string()),
    },
    Peer {
        name: "libbpf-tools tcpconnect",
        shows: &[Tcp, Refused],
        slow: false,
        command: &["tcpconnect"],
        is_attempt: by_process,
    },
    Peer {
        name: "libbpf-tools tcptracer",
        shows: &[Tcp],
        slow: false,
        command: &["tcptracer"],
        is_attempt: |line, workload| by_process(line, workload) && line.starts_with('C'),
    },
    Peer {
        name: "strace -e connect",
        shows: &[Tcp, Refused, Udp],
        slow: true,
        command: &["strace", "-e", "trace=connect", "-p", "{pid}", "-o", "{file}"],
        is_attempt: |line, workload| line.contains(&format!("htons({})", workload.port())),
    },
];

fn by_process(line: &str, workload: Workload) -> bool {
    line.contains(workload.process())
}

impl Peer {
    /// Starts it and waits until it is attached; the error is why it cannot run here.
    pub(super) fn start(&'static self, root: &Path, directory: &Path, generator: u32) -> Result<Running> {
        let _ = fs::remove_dir_all(directory);
        fs::create_dir_all(directory)?;
        let mut command = with_tracefs(root);
        for word in self.command {
            match *word {
                "{file}" => command.arg(directory.join("data")),
                "{pid}" => command.arg(generator.to_string()),
                word => command.arg(word),
            };
        }
        let process = command
            .stdin(Stdio::null())
            .stdout(File::create(directory.join("output"))?)
            .stderr(File::create(directory.join("errors"))?)
            .spawn()?;
        let mut running =
            Running { peer: self, process, directory: directory.to_owned(), root: root.to_owned() };
        running.wait_until_attached(generator)?;
        Ok(running)
    }
}

fn with_tracefs(root: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", WITH_TRACEFS, "sh"]).env("PATH", workspace::search_path(root));
    command
}

/// A tool that is attached.
pub(super) struct Running {
    peer: &'static Peer,
    process: Child,
    directory: PathBuf,
    root: PathBuf,
}

impl Running {
    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    fn wait_until_attached(&mut self, generator: u32) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        let mut attached = false;
        while !attached {
            self.ensure_alive()?;
            if Instant::now() >= deadline {
                bail!("not attached after {START_LIMIT:?}");
            }
            sleep(Duration::from_millis(20));
            attached = match self.peer.command[0] {
                // It enables its events just before it starts its command.
                "perf" => has_child(self.pid(), "sleep"),
                "strace" => is_traced_by(generator, self.pid()),
                _ => holds_hooks(self.pid()),
            };
        }
        sleep(SETTLE);
        self.ensure_alive()
    }

    fn ensure_alive(&mut self) -> Result<()> {
        match self.process.try_wait()? {
            Some(status) => Err(self.last_words(&format!("ended with {status}"))),
            None => Ok(()),
        }
    }

    /// Why it does not run: the first thing that it complained about.
    fn last_words(&self, otherwise: &str) -> anyhow::Error {
        let errors = fs::read(self.directory.join("errors")).unwrap_or_default();
        let errors = String::from_utf8_lossy(&errors);
        let mut lines = errors.lines().map(str::trim).filter(|line| !line.is_empty());
        anyhow!("{}", lines.next().unwrap_or(otherwise).to_owned())
    }

    /// Ends it as Ctrl-C does; how many attempts of each workload it has reported.
    pub(super) fn finish(mut self, workloads: &[Workload]) -> Result<Vec<u64>> {
        let deadline = Instant::now() + STOP_LIMIT;
        let mut next_signal = Instant::now();
        while self.process.try_wait()?.is_none() {
            if Instant::now() >= deadline {
                bail!("{} has not stopped {STOP_LIMIT:?} after SIGINT", self.peer.name);
            }
            // Again from time to time: bpftrace only notices one that comes while it waits.
            if Instant::now() >= next_signal {
                kill_process(Pid::from_child(&self.process), Signal::INT)?;
                next_signal += SIGNAL_EVERY;
            }
            sleep(Duration::from_millis(10));
        }
        let data = self.directory.join("data");
        let counts = match self.peer.command[0] {
            "perf" => self.count_recorded(&data, workloads),
            "strace" => self.count(File::open(&data)?, workloads),
            _ => self.count(File::open(self.directory.join("output"))?, workloads),
        }?;
        fs::remove_dir_all(&self.directory)?;
        Ok(counts)
    }

    /// perf's file is not text.
    fn count_recorded(&self, data: &Path, workloads: &[Workload]) -> Result<Vec<u64>> {
        let mut script = with_tracefs(&self.root);
        script.args(["perf", "script", "-F", "comm,trace", "-i"]).arg(data);
        let mut script = script.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let counts = self.count(script.stdout.take().context("perf script has no stdout")?, workloads)?;
        let ended = script.wait()?;
        anyhow::ensure!(ended.success(), "perf script failed: {ended}");
        Ok(counts)
    }

    fn count(&self, output: impl Read, workloads: &[Workload]) -> Result<Vec<u64>> {
        let mut counts = vec![0; workloads.len()];
        for line in BufReader::new(output).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            for (count, workload) in counts.iter_mut().zip(workloads) {
                *count += u64::from((self.peer.is_attempt)(&line, *workload));
            }
        }
        Ok(counts)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.process.try_wait() {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

/// Whether the process has attached to something: every way of tracing needs a descriptor of one of these kinds.
fn holds_hooks(pid: u32) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors
        .flatten()
        .filter_map(|fd| fs::read_link(fd.path()).ok())
        .any(|target| matches!(target.to_str(), Some("anon_inode:[perf_event]" | "anon_inode:bpf_link")))
}

fn has_child(pid: u32, name: &str) -> bool {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().any(|child| {
        fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|comm| comm.trim_end() == name)
    })
}

fn is_traced_by(process: u32, tracer: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    super::process::field(&status, "TracerPid:") == Some(u64::from(tracer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(name: &str, line: &str) -> Vec<Workload> {
        let peer = ALL.iter().find(|peer| peer.name == name).unwrap();
        Workload::MEASURED.into_iter().filter(|workload| (peer.is_attempt)(line, *workload)).collect()
    }

    #[test]
    fn a_line_is_one_attempt_of_one_workload() {
        let client = "15001 load-tcp    127.0.0.1       40122 127.0.0.1        7001       0     0 0.05";
        let server = "15001 load-tcp    127.0.0.1       7001  127.0.0.1       40122       0     0 0.05";
        assert_eq!(attempts("libbpf-tools tcplife", client), [Tcp]);
        assert_eq!(attempts("libbpf-tools tcplife", server), []);
        let state =
            "ffff88810481ae40 1 load-deny 127.0.0.1 0 127.0.0.1 7002 CLOSE       -> SYN_SENT    0.000";
        assert_eq!(attempts("libbpf-tools tcpstates", state), [Refused]);
        assert_eq!(attempts("libbpf-tools tcpstates", &state.replace("SYN_SENT", "CLOSE")), []);
        assert_eq!(attempts("bpftrace connect", "77 load-udp 5"), [Udp]);
        assert_eq!(attempts("bpftrace connect", "77 curl 5"), []);
        let call = r#"connect(4, {sa_family=AF_INET, sin_port=htons(7003), sin_addr=inet_addr("127.0.0.1")}, 16) = 0"#;
        assert_eq!(attempts("strace -e connect", call), [Udp]);
    }
}
