//! What is said about an answer, beside the answer itself.

/// A line, safe to write to a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Remark {
    /// Without it the answer would be taken for what it is not; told to programs' standard error too.
    Notice(String),
    /// Good to know for a person who reads the answer.
    Aside(String),
}

impl Remark {
    pub(crate) fn text(&self) -> &str {
        match self {
            Remark::Notice(text) | Remark::Aside(text) => text,
        }
    }

    pub(crate) fn is_notice(&self) -> bool {
        matches!(self, Remark::Notice(_))
    }
}
