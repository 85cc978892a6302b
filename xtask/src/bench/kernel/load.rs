//! The load generator: this program again, built with optimisation, in a network namespace of its own, doing one
//! workload at a time as it is told on stdin. Ends when stdin does.
//!
//! Plain system calls on one pinned thread; the accepting end is the same thread, so a connection costs no switch.

use std::ffi::CString;
use std::io::{BufRead as _, Write as _, stdin, stdout};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Shutdown, SocketFlags, SocketType, accept_with, bind, connect, listen, shutdown,
    socket_with,
};
use rustix::thread::{CpuSet, sched_setaffinity, set_name};
use rustix::time::{ClockId, clock_gettime};

use super::workload::{Made, Order, Workload};

/// Attempts between two looks at the clock.
const AT_ONCE: u64 = 32;
/// At a fixed rate: how often what is due is done.
const PACE: Duration = Duration::from_millis(1);

/// Options of the hidden job `load`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// CPU to run on
    #[arg(long)]
    cpu: usize,
}

/// Obeys until stdin ends.
pub(crate) fn job(arguments: &Arguments) -> Result<()> {
    let mut only = CpuSet::new();
    only.set(arguments.cpu);
    sched_setaffinity(None, &only).with_context(|| format!("cannot run on CPU {}", arguments.cpu))?;
    for line in stdin().lock().lines() {
        let order: Order = serde_json::from_str(&line?).context("not an order")?;
        let made = obey(order, Ipv4Addr::LOCALHOST)
            .with_context(|| format!("the load generator failed at {order:?}"))?;
        let mut answer = stdout().lock();
        serde_json::to_writer(&mut answer, &made)?;
        writeln!(answer)?;
    }
    Ok(())
}

fn obey(order: Order, host: Ipv4Addr) -> Result<Made> {
    set_name(&CString::new(order.workload.process())?)?;
    let ends = Ends::of(order.workload, host)?;
    let limit = Duration::from_millis(order.milliseconds);
    let before = TcpCounts::read()?;
    let (started, cpu_before) = (Instant::now(), cpu_ns());
    let mut attempts = 0;
    loop {
        let elapsed = started.elapsed();
        if elapsed >= limit {
            break;
        }
        // Behind its rate it goes on in small parts too, so that it ends in time.
        let due = match order.rate {
            None => attempts + AT_ONCE,
            Some(rate) => due_after(rate, elapsed).min(attempts + AT_ONCE),
        };
        while attempts < due {
            ends.attempt()?;
            attempts += 1;
        }
        if let Some(rate) = order.rate
            && due_after(rate, started.elapsed()) <= attempts
        {
            sleep(PACE);
        }
    }
    let (wall_ns, cpu_ns) = (started.elapsed().as_nanos() as u64, cpu_ns() - cpu_before);
    let after = TcpCounts::read()?;
    Ok(Made {
        attempts,
        opens: after.opens - before.opens,
        resets: after.resets - before.resets,
        wall_ns,
        cpu_ns,
    })
}

/// Attempts that are due after this time.
fn due_after(rate: u32, elapsed: Duration) -> u64 {
    (elapsed.as_nanos() * u128::from(rate) / 1_000_000_000) as u64
}

fn cpu_ns() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// What an attempt needs and is not made anew for each.
struct Ends {
    workload: Workload,
    to: SocketAddrV4,
    listener: Option<OwnedFd>,
    reused: Option<OwnedFd>,
}

impl Ends {
    fn of(workload: Workload, host: Ipv4Addr) -> Result<Self> {
        let to = SocketAddrV4::new(host, workload.port());
        let (mut listener, mut reused) = (None, None);
        match workload {
            Workload::Tcp => {
                let socket = new_socket(SocketType::STREAM)?;
                bind(&socket, &to)?;
                listen(&socket, 128)?;
                listener = Some(socket);
            }
            Workload::Retry => reused = Some(new_socket(SocketType::STREAM)?),
            Workload::Refused | Workload::Udp => {}
        }
        Ok(Self { workload, to, listener, reused })
    }

    fn attempt(&self) -> Result<()> {
        match (self.workload, &self.listener, &self.reused) {
            (Workload::Tcp, Some(listener), _) => {
                let client = new_socket(SocketType::STREAM)?;
                connect(&client, &self.to)?;
                let server = accept_with(listener, SocketFlags::CLOEXEC)?;
                // The client says goodbye first, but goes last: without waiting in TIME_WAIT (see `generator`) a
                // client that is gone when the server's FIN arrives would answer it with a reset.
                shutdown(&client, Shutdown::Write)?;
                drop(server);
            }
            (Workload::Udp, ..) => connect(&new_socket(SocketType::DGRAM)?, &self.to)?,
            (_, _, Some(socket)) => refused(socket, self.to)?,
            _ => refused(&new_socket(SocketType::STREAM)?, self.to)?,
        }
        Ok(())
    }
}

fn new_socket(kind: SocketType) -> Result<OwnedFd> {
    Ok(socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, None)?)
}

fn refused(socket: &OwnedFd, to: SocketAddrV4) -> Result<()> {
    match connect(socket, &to) {
        Err(Errno::CONNREFUSED) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(()) => bail!("somebody listens on {to}"),
    }
}

/// Counters of this network namespace (RFC 4022 names them).
struct TcpCounts {
    opens: u64,
    resets: u64,
}

impl TcpCounts {
    fn read() -> Result<Self> {
        Self::parse(&std::fs::read_to_string("/proc/self/net/snmp")?)
            .context("/proc/self/net/snmp has no TCP counters")
    }

    /// Two lines begin with `Tcp:`, the first with names, the second with values.
    fn parse(snmp: &str) -> Option<Self> {
        let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Tcp:"));
        let (names, values) = (lines.next()?.split_whitespace(), lines.next()?.split_whitespace());
        let pairs: Vec<_> = names.zip(values).collect();
        let value = |name: &str| pairs.iter().find(|pair| pair.0 == name)?.1.parse().ok();
        Some(Self { opens: value("ActiveOpens")?, resets: value("OutRsts")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_exact_however_long_it_takes() {
        assert_eq!(due_after(50_000, Duration::from_millis(1)), 50);
        assert_eq!(due_after(50_000, Duration::from_hours(1)), 180_000_000);
        assert_eq!(due_after(u32::MAX, Duration::ZERO), 0);
    }

    #[test]
    fn tcp_counters_are_found_by_name() {
        let text = "Ip: A\nIp: 1\nTcp: X ActiveOpens OutRsts\nTcp: -1 7 9\nUdp: A\nUdp: 2\n";
        let counts = TcpCounts::parse(text).unwrap();
        assert_eq!((counts.opens, counts.resets), (7, 9));
        assert!(TcpCounts::parse("Tcp: ActiveOpens\nTcp: 1\n").is_none());
        assert!(TcpCounts::read().is_ok());
    }

    #[test]
    fn every_workload_makes_what_it_says_and_ends_in_time() {
        // An address of our own: the same test may be running elsewhere on this machine.
        let [_, a, b, c] = std::process::id().to_be_bytes();
        let host = Ipv4Addr::new(127, a, b, c);
        for workload in [Workload::Tcp, Workload::Refused, Workload::Udp, Workload::Retry] {
            let made = obey(Order { workload, milliseconds: 50, rate: Some(1_000) }, host).unwrap();
            assert!((1..=50).contains(&made.attempts), "{workload:?}: {made:?}");
            assert!(made.wall_ns < 1_000_000_000 && made.cpu_ns <= made.wall_ns, "{workload:?}: {made:?}");
        }
    }
}
