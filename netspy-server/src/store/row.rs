//! Columns ↔ values. A row that cannot be read back is an error that says which column: the file may have been
//! damaged or edited, and a guess would be a wrong answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Row, Statement};

use super::codes::Coded;
use crate::domain::{Endpoint, HistoryError};

/// Takes a row's columns one after the other, in the order in which they were asked for.
pub(super) struct Columns<'a, 'row> {
    row: &'a Row<'row>,
    next: usize,
}

impl<'a, 'row> Columns<'a, 'row> {
    pub(super) fn of(row: &'a Row<'row>) -> Self {
        Self { row, next: 0 }
    }

    /// The next column, which is called `name`.
    pub(super) fn take<T: FromSql>(&mut self, name: &str) -> Result<T, HistoryError> {
        self.next += 1;
        self.row.get(self.next - 1).map_err(|error| unreadable(name, &error))
    }

    /// The same, as it is stored.
    pub(super) fn raw(&mut self, name: &str) -> Result<ValueRef<'a>, HistoryError> {
        self.next += 1;
        self.row.get_ref(self.next - 1).map_err(|error| unreadable(name, &error))
    }

    /// A u64, stored as the i64 with the same bits.
    pub(super) fn unsigned(&mut self, name: &str) -> Result<u64, HistoryError> {
        self.take(name).map(i64::cast_unsigned)
    }

    pub(super) fn optional_unsigned(&mut self, name: &str) -> Result<Option<u64>, HistoryError> {
        Ok(self.take::<Option<i64>>(name)?.map(i64::cast_unsigned))
    }

    /// A variant, stored as its number.
    pub(super) fn coded<T: Coded>(&mut self, name: &str) -> Result<T, HistoryError> {
        self.optional_coded(name)?.ok_or_else(|| unreadable(name, &"it is missing"))
    }

    pub(super) fn optional_coded<T: Coded>(&mut self, name: &str) -> Result<Option<T>, HistoryError> {
        let Some(code) = self.take::<Option<u8>>(name)? else { return Ok(None) };
        let known = T::from_code(code).ok_or_else(|| unreadable(name, &format!("nothing has number {code}")));
        known.map(Some)
    }

    /// A variant, stored as its name.
    pub(super) fn named<T>(&mut self, name: &str, parse: fn(&str) -> Option<T>) -> Result<T, HistoryError> {
        let text: String = self.take(name)?;
        parse(&text).ok_or_else(|| unreadable(name, &format!("nothing is called {text:?}")))
    }

    /// An address and a port, in two columns.
    pub(super) fn end(&mut self, ip: &str, port: &str) -> Result<Option<Endpoint>, HistoryError> {
        let (address, port) = (self.take::<Option<Address>>(ip)?, self.take::<Option<u16>>(port)?);
        Ok(address.map(|Address { ip, scope }| Endpoint { ip, port: port.unwrap_or(0), scope }))
    }
}

/// An address: IPv4 as an integer, IPv6 as its 16 bytes, and 4 more for a scope (big-endian). A v4-mapped address
/// comes back as what it was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Address {
    pub(super) ip: IpAddr,
    pub(super) scope: u32,
}

impl ToSql for Address {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match &self.ip {
            IpAddr::V4(ip) => ToSqlOutput::from(u32::from(*ip)),
            IpAddr::V6(ip) => ToSqlOutput::from(v6_bytes(*ip, self.scope)),
        })
    }
}

impl FromSql for Address {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        if let ValueRef::Blob(bytes) = value {
            let wrong_size = || FromSqlError::InvalidBlobSize { expected_size: 16, blob_size: bytes.len() };
            let (ip, scope) = v6_of_bytes(bytes).ok_or_else(wrong_size)?;
            return Ok(Self { ip: ip.into(), scope });
        }
        Ok(Self { ip: Ipv4Addr::from(u32::column_result(value)?).into(), scope: 0 })
    }
}

/// 16 bytes, or 20 with a scope.
pub(super) fn v6_bytes(ip: Ipv6Addr, scope: u32) -> Vec<u8> {
    let mut bytes = ip.octets().to_vec();
    if scope != 0 {
        bytes.extend(scope.to_be_bytes());
    }
    bytes
}

/// The reverse of [`v6_bytes`].
pub(super) fn v6_of_bytes(bytes: &[u8]) -> Option<(Ipv6Addr, u32)> {
    let (octets, scope) = bytes.split_first_chunk::<16>()?;
    let scope = if scope.is_empty() { 0 } else { u32::from_be_bytes(scope.try_into().ok()?) };
    Some((Ipv6Addr::from(*octets), scope))
}

/// Gives a statement its parameters one after the other.
pub(super) struct Parameters<'a, 'statement> {
    statement: &'a mut Statement<'statement>,
    next: usize,
}

impl<'a, 'statement> Parameters<'a, 'statement> {
    pub(super) fn of(statement: &'a mut Statement<'statement>) -> Self {
        Self { statement, next: 1 }
    }

    pub(super) fn put(&mut self, value: impl ToSql) -> rusqlite::Result<()> {
        self.next += 1;
        self.statement.raw_bind_parameter(self.next - 1, value)
    }

    /// The reverse of [`Columns::end`].
    pub(super) fn put_end(&mut self, end: Option<Endpoint>) -> rusqlite::Result<()> {
        self.put(end.map(|end| Address { ip: end.ip, scope: end.scope }))?;
        self.put(end.map(|end| end.port))
    }

    pub(super) fn execute(self) -> rusqlite::Result<usize> {
        self.statement.raw_execute()
    }
}

pub(super) fn unreadable(column: &str, why: &dyn std::fmt::Display) -> HistoryError {
    HistoryError(format!(
        "the history holds a row whose {column} cannot be read: {why}; the file is damaged: move it away or \
         pass --db FILE"
    ))
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
pub(super) fn cannot_read(error: rusqlite::Error) -> HistoryError {
    HistoryError(format!("cannot read the history: {error}"))
}
