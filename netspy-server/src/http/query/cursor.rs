//! Where a list goes on: behind the last event of the page before, whatever has been recorded since.
//!
//! Lists are newest first by wall time; at the same moment by kind, then by id. A cursor names the last event by
//! these three, so that nothing is left out and nothing comes twice.

use std::fmt;

use crate::domain::{Place, TroubleKind};

/// Kinds of events in the order in which those of one moment are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::http) enum Kind {
    Connection,
    Drop,
    Trouble(TroubleKind),
}

impl Kind {
    /// Each of them once, in order.
    pub(in crate::http) fn all() -> impl Iterator<Item = Self> {
        [Self::Connection, Self::Drop].into_iter().chain(TroubleKind::ALL.map(Self::Trouble))
    }

    /// Its `type` in the API.
    pub(in crate::http) fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Drop => "packet_drop",
            Self::Trouble(kind) => kind.name(),
        }
    }
}

/// The last event of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct Cursor {
    pub(in crate::http) wall_ns: i64,
    pub(in crate::http) kind: Kind,
    pub(in crate::http) id: u64,
}

impl Cursor {
    /// Where events of a kind go on.
    pub(in crate::http) fn place(self, kind: Kind) -> Place {
        match kind.cmp(&self.kind) {
            std::cmp::Ordering::Less => Place { wall_ns: self.wall_ns, id: None },
            std::cmp::Ordering::Equal => Place { wall_ns: self.wall_ns, id: Some(self.id) },
            // Those of that moment are still to come.
            std::cmp::Ordering::Greater => Place { wall_ns: self.wall_ns.saturating_add(1), id: None },
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let mut part = || parts.next();
        let (wall_ns, kind, id) = (hexadecimal(part()?)?, part()?, hexadecimal(part()?)?);
        let kind = Kind::all().find(|known| known.name() == kind)?;
        part().is_none().then_some(Self { wall_ns: wall_ns.cast_signed(), kind, id })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{}.{:016x}", self.wall_ns, self.kind.name(), self.id)
    }
}

/// Sixteen digits.
fn hexadecimal(text: &str) -> Option<u64> {
    let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u64::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back() {
        for wall_ns in [i64::MIN, -1, 0, 1_795_222_336_500_000_000, i64::MAX] {
            for kind in Kind::all() {
                let cursor = Cursor { wall_ns, kind, id: u64::MAX };
                assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor));
            }
        }
        for wrong in [
            "",
            "1",
            "0.connection.0",
            "0000000000000000.dns.0000000000000000",
            "+000000000000000.connection.0000000000000000",
        ] {
            assert_eq!(Cursor::parse(wrong), None, "{wrong}");
        }
    }
}
