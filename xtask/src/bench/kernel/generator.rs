//! The load generator's other side: starts it in a network namespace of its own and checks what it says against
//! the kernel's counters there.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::workload::{Made, Order, Workload};
use crate::workspace;

/// Its own namespace: nobody else's packets, ports or settings. Without `TIME_WAIT` sockets (60 s each) neither the
/// ports run out nor does looking for a free one take longer the longer it runs.
const PREPARE: &str = r#"ip link set lo up && echo 0 >/proc/sys/net/ipv4/tcp_max_tw_buckets && exec "$@""#;

/// A running generator.
pub(super) struct Generator {
    process: Child,
    orders: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Generator {
    /// `program`: this very program, built with optimisation. It runs on the last CPU.
    pub(super) fn start(root: &Path, program: &Path, cpus: usize) -> Result<Self> {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", PREPARE, "sh"]).arg(program).arg("load");
        command.args(["--cpu", &(cpus - 1).to_string()]).env("PATH", workspace::search_path(root));
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the load generator")?;
        let orders = process.stdin.take();
        let answers = process.stdout.take().context("the load generator has no stdout")?;
        Ok(Self { process, orders, answers: BufReader::new(answers).lines() })
    }

    /// Its process id, for tools that follow one process.
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Does one workload: at its own maximum rate, or `rate` times a second.
    pub(super) fn run(&mut self, workload: Workload, time: Duration, rate: Option<u32>) -> Result<Made> {
        let order = Order { workload, milliseconds: time.as_millis() as u64, rate };
        let orders = self.orders.as_mut().context("the load generator was stopped")?;
        writeln!(orders, "{}", serde_json::to_string(&order)?).context("the load generator is gone")?;
        let answer = self.answers.next().context("the load generator ended; its message is above")??;
        let made: Made = serde_json::from_str(&answer)?;
        let opens = if workload == Workload::Udp { 0 } else { made.attempts };
        ensure!(made.opens == opens, "the kernel counted {} TCP attempts: {made:?}", made.opens);
        let closed_normally = workload != Workload::Tcp || made.resets == 0;
        ensure!(closed_normally, "{} connections were reset instead of closed", made.resets);
        Ok(made)
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.process.wait();
    }
}
