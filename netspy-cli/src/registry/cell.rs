//! One value of a row.

use schemars::JsonSchema;
use serde::Serialize;

use crate::render::time;

/// A string, a number, or nothing known.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Cell {
    Text(String),
    Number(u64),
    Unknown(()),
}

impl Cell {
    /// A string; the empty one says that nothing is known.
    pub(super) fn text(text: &str) -> Self {
        if text.is_empty() { Cell::Unknown(()) } else { Cell::Text(text.to_owned()) }
    }

    /// A moment, in UTC whatever zone the server is in.
    pub(super) fn time(text: &str) -> Self {
        Self::text(&time::utc(text))
    }

    pub(super) fn number(number: impl Into<u64>) -> Self {
        Cell::Number(number.into())
    }
}

impl From<&Option<String>> for Cell {
    fn from(text: &Option<String>) -> Self {
        text.as_deref().map_or(Cell::Unknown(()), Cell::text)
    }
}

impl From<Option<u64>> for Cell {
    fn from(number: Option<u64>) -> Self {
        number.map_or(Cell::Unknown(()), Cell::Number)
    }
}
