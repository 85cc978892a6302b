//! A terminal whose screen can be looked at: a real pseudo-terminal, and an emulator that reads it.

use std::process::Command;
use std::time::{Duration, Instant};

use rexpect::process::WaitStatus;
use rexpect::session::{PtySession, spawn_command};
use rustix::termios::{Winsize, tcsetwinsize};

/// Longer than anything that is waited for takes.
const PATIENCE: Duration = Duration::from_secs(15);

pub struct Screen {
    session: PtySession,
    emulator: vt100::Parser,
    /// Every byte that came.
    raw: Vec<u8>,
}

impl Screen {
    /// `netspy` with a terminal of this size, in an environment that holds nothing of the developer's.
    pub fn start(rows: u16, columns: u16, server: &str, words: &str, variables: &[(&str, &str)]) -> Self {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &format!("stty rows {rows} cols {columns}; exec \"$NETSPY\" {words}")]);
        shell.env_clear().envs([("PATH", "/usr/bin:/bin"), ("TERM", "xterm"), ("TZ", "UTC")]);
        shell.envs([("NETSPY_SERVER", server), ("NETSPY", env!("CARGO_BIN_EXE_netspy"))]);
        shell.envs(variables.iter().copied());
        let session = spawn_command(shell, Some(PATIENCE.as_millis() as u64)).unwrap();
        Self { session, emulator: vt100::Parser::new(rows, columns, 0), raw: Vec::new() }
    }

    pub fn press(&mut self, keys: &str) {
        self.session.send(keys).unwrap();
        self.session.flush().unwrap();
    }

    /// What it shows now.
    pub fn shown(&mut self) -> String {
        // rexpect takes every byte for a character.
        while let Some(byte) = self.session.try_read() {
            let byte = u8::try_from(u32::from(byte)).unwrap();
            self.raw.push(byte);
            self.emulator.process(&[byte]);
        }
        self.emulator.screen().contents()
    }

    /// Waits until it shows what is wanted.
    #[track_caller]
    pub fn until(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let shown = self.shown();
            if wanted(&shown) {
                return shown;
            }
            assert!(Instant::now() < end, "this is still shown:\n{shown}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// As somebody does who pulls at the window's corner.
    pub fn resize(&mut self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(self.session.process().get_file_handle().unwrap(), size).unwrap();
        self.emulator.screen_mut().set_size(rows, columns);
    }

    pub fn is_alternate(&self) -> bool {
        self.emulator.screen().alternate_screen()
    }

    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Waits for the end: the exit code.
    pub fn ended(mut self) -> (i32, Self) {
        let end = Instant::now() + PATIENCE;
        loop {
            self.shown();
            match self.session.process().status() {
                Some(WaitStatus::Exited(_, code)) => {
                    std::thread::sleep(Duration::from_millis(50));
                    self.shown();
                    return (code, self);
                }
                state => assert!(Instant::now() < end, "{state:?}: {}", self.shown()),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
