//! Names of addresses in the kernel's code, from `/proc/kallsyms`.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Seek, stdin},
    os::fd::AsFd,
    time::{Duration, Instant},
};

/// Addresses in it are 0 unless whoever opened it had `CAP_SYSLOG`; who reads it later need not.
const KALLSYMS: &str = "/proc/kallsyms";

/// An address this far beyond a symbol is not in it: it belongs to something that was loaded since.
const LONGEST_FUNCTION: u64 = 1 << 20;
/// The table is not read more often than this: it has some 200,000 lines.
const REREAD_AFTER: Duration = Duration::from_secs(10);

/// The kernel's symbols, read when first needed and again when an address is in none of them.
pub struct Symbols {
    file: Option<File>,
    table: Table,
    read_at: Option<Instant>,
}

impl Symbols {
    /// Opens the table, but reads nothing yet.
    pub fn open() -> Self {
        let file = open().inspect_err(|error| {
            tracing::warn!(%error, "{KALLSYMS}: drops are reported without their location");
        });
        Self { file: file.ok(), table: Table::default(), read_at: None }
    }

    /// `symbol+0xoffset` of an address.
    pub fn name(&mut self, address: u64) -> Option<String> {
        if let Some(name) = self.table.name(address) {
            return Some(name);
        }
        if self.read_at.is_some_and(|at| at.elapsed() < REREAD_AFTER) {
            return None;
        }
        self.read_at = Some(Instant::now());
        match self.file.as_mut().map(read) {
            Some(Ok(table)) => self.table = table,
            Some(Err(error)) => {
                tracing::warn!(%error, "{KALLSYMS}: drops are reported without their location");
            }
            None => {}
        }
        self.table.name(address)
    }
}

/// Standard input if it is that table: systemd may open it for a server that itself may not see it.
fn open() -> io::Result<File> {
    if fs::read_link("/proc/self/fd/0").is_ok_and(|opened| opened.as_os_str() == KALLSYMS) {
        return stdin().as_fd().try_clone_to_owned().map(File::from);
    }
    File::open(KALLSYMS)
}

/// Line by line: the whole text is several times as large as what is kept of it.
fn read(file: &mut File) -> io::Result<Table> {
    file.rewind()?;
    Table::parse(BufReader::new(file))
}

/// Code symbols by address; names one after the other in one string.
#[derive(Default)]
struct Table {
    /// Address, start and end of the name.
    entries: Vec<(u64, u32, u32)>,
    names: String,
}

impl Table {
    fn parse(text: impl BufRead) -> io::Result<Self> {
        let mut table = Self::default();
        for line in text.lines() {
            let line = line?;
            let mut words = line.split_ascii_whitespace();
            let (Some(address), Some(kind), Some(name)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            let Ok(address) = u64::from_str_radix(address, 16) else { continue };
            // 0: hidden by kptr_restrict. Only code can drop a packet.
            if address == 0 || !matches!(kind, "t" | "T" | "w" | "W") {
                continue;
            }
            let start = table.names.len() as u32;
            table.names.push_str(name);
            table.entries.push((address, start, table.names.len() as u32));
        }
        table.entries.sort_unstable();
        table.entries.shrink_to_fit();
        table.names.shrink_to_fit();
        Ok(table)
    }

    fn name(&self, address: u64) -> Option<String> {
        let after = self.entries.partition_point(|entry| entry.0 <= address);
        let (symbol, start, end) = *self.entries.get(after.checked_sub(1)?)?;
        let offset = address - symbol;
        (offset < LONGEST_FUNCTION)
            .then(|| format!("{}+{offset:#x}", &self.names[start as usize..end as usize]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_named_by_the_code_symbol_before_it() {
        let table = Table::parse(
            "ffffffff81000200 T tcp_v4_rcv\nffffffff81000100 t ip_rcv\t[ipv4]\nffffffff81000210 d data\n\
             0000000000000000 T hidden\nnonsense\n"
                .as_bytes(),
        )
        .unwrap();
        assert_eq!(table.name(0xffff_ffff_8100_0110).unwrap(), "ip_rcv+0x10");
        assert_eq!(table.name(0xffff_ffff_8100_0220).unwrap(), "tcp_v4_rcv+0x20");
        assert_eq!(table.name(0xffff_ffff_8100_00ff), None);
        assert_eq!(table.name(0xffff_ffff_9100_0000), None);
        assert_eq!(Table::default().name(1), None);
    }
}
