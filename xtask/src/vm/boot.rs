//! One boot: QEMU is started, its serial line is read to the end or to the time limit, QEMU is gone afterwards.

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::architecture::Architecture;
use super::kernel::Kernel;
use super::serial::Transcript;
use super::{Plan, Programs, initramfs};

/// A boot takes seconds; scenarios that wait for kernel timers take some more.
const LIMIT: Duration = Duration::from_mins(30);

/// There is nothing to guard in a guest, and grace periods are what attaching and detaching wait for: a start takes a third
/// less.
const FASTER: &str = "mitigations=off rcupdate.rcu_expedited=1";

/// A processor that is busy in the kernel for a minute ends the guest, with a trace of what it is busy with.
const STUCK: &str = "watchdog_thresh=30 softlockup_panic=1";

/// One host thread for both processors. With one each, QEMU before 8.1 may go on with code that the other processor has
/// just rewritten (a probe, a static key): a kernel that does not start, or one that is in its breakpoint handler for ever.
/// As there is hardly a guest without another beside it, it is also the faster way.
const ACCELERATOR: &str = "tcg,thread=single";

/// Boots the kernel, repeats what it prints, and returns it. The whole log stays in `directory`.
pub(super) fn run(directory: &Path, programs: &Programs, kernel: &Kernel, plan: &Plan) -> Result<Transcript> {
    fs::create_dir_all(directory)?;
    let initramfs = initramfs::build(directory, programs, kernel, plan)?;
    let name = plan.architecture.label(plan.series.name);
    let mut log = fs::File::create(directory.join("serial.log"))?;
    let mut machine = Machine::start(plan.architecture, kernel, &initramfs, &["-m", "1G"], "")?;
    let lines = machine.lines()?;
    let deadline = Instant::now() + LIMIT;
    let mut transcript = Transcript::default();
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                let owner = transcript.take(&line);
                println!("[{name} {owner}] {line}");
                writeln!(log, "{line}")?;
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                transcript.cut_short = Some(format!("not finished after {} s", LIMIT.as_secs()));
                break;
            }
        }
    }
    Ok(transcript)
}

/// A running QEMU; dropping it ends it, however the boot went.
pub(crate) struct Machine(Child);

impl Machine {
    /// Boots; `options` are QEMU's, `words` the kernel's.
    pub(crate) fn start(
        architecture: Architecture,
        kernel: &Kernel,
        initramfs: &Path,
        options: &[&str],
        words: &str,
    ) -> Result<Self> {
        let (emulator, machine) = architecture.emulator();
        let mut qemu = Command::new(emulator);
        qemu.args(machine).args(["-accel", ACCELERATOR, "-smp", "2"]).args(options);
        qemu.args(["-nographic", "-no-reboot", "-nic", "none"]);
        qemu.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(initramfs);
        let console = architecture.console();
        let words = format!("console={console} quiet panic=-1 rdinit=/init {FASTER} {STUCK} {words}");
        qemu.arg("-append").arg(words);
        // Not the terminal: QEMU would take the keyboard, Ctrl-C included, for the guest.
        qemu.stdin(Stdio::null()).stdout(Stdio::piped());
        Ok(Self(qemu.spawn().with_context(|| format!("cannot start {emulator}"))?))
    }

    /// The serial line, line by line; the channel closes when QEMU ends.
    pub(crate) fn lines(&mut self) -> Result<Receiver<String>> {
        let serial = self.0.stdout.take().context("QEMU has no stdout")?;
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let mut serial = BufReader::new(serial);
            // An error on either side means that the other one is gone: nothing is left to do.
            while let Some(line) = next_line(&mut serial) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(receiver)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Fails only if QEMU has ended already; then `wait` just collects it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The next line without its end and without terminal control sequences; the firmware prints some, and no UTF-8.
fn next_line(serial: &mut BufReader<impl Read>) -> Option<String> {
    let mut bytes = Vec::new();
    match serial.read_until(b'\n', &mut bytes) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(printable(&String::from_utf8_lossy(&bytes))),
    }
}

fn printable(line: &str) -> String {
    let mut text = String::new();
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            // ESC, an introducer, parameters, and a letter that ends the sequence.
            let _ = characters.find(char::is_ascii_alphabetic);
        } else if !character.is_control() || character == '\t' {
            text.push(character);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_sequences_and_line_ends_are_removed() {
        assert_eq!(printable("\u{1b}c\u{1b}[?7l\u{1b}[2JSeaBIOS\r\n"), "SeaBIOS");
        assert_eq!(printable("test a ... \u{1b}[32mok\u{1b}[m"), "test a ... ok");
    }

    #[test]
    fn a_last_line_without_end_is_a_line() {
        let mut serial = BufReader::new(&b"one\r\ntwo"[..]);
        assert_eq!(next_line(&mut serial).as_deref(), Some("one"));
        assert_eq!(next_line(&mut serial).as_deref(), Some("two"));
        assert_eq!(next_line(&mut serial), None);
    }
}
