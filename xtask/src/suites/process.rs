//! A server that a suite talks to: started, asked for its address, ended with its owner.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

const START_LIMIT: Duration = Duration::from_secs(30);

pub(super) struct Process {
    child: Child,
    /// URL that it said it serves.
    pub(super) address: String,
}

impl Process {
    /// Waits until it says `marker` and the address behind that.
    pub(super) fn start(name: &str, command: &mut Command, marker: &'static str) -> Result<Self> {
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.with_context(|| format!("cannot start {name}"))?;
        let (sender, addresses) = mpsc::channel();
        let pipes = [child.stdout.take().map(boxed), child.stderr.take().map(boxed)];
        for pipe in pipes.into_iter().flatten() {
            let sender = sender.clone();
            // To the end: a full pipe would stop the process.
            thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    let said = line.split_once(marker).map(|(_, rest)| rest);
                    if let Some(address) = said.and_then(|rest| rest.split([' ', ';']).next()) {
                        let _ = sender.send(address.to_owned());
                    }
                }
            });
        }
        drop(sender);
        let Ok(address) = addresses.recv_timeout(START_LIMIT) else {
            let _ = child.kill();
            let status = child.wait()?;
            bail!("{name} did not say \"{marker}\" ({status})");
        };
        Ok(Self { child, address })
    }
}

fn boxed(pipe: impl Read + Send + 'static) -> Box<dyn Read + Send> {
    Box::new(pipe)
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
