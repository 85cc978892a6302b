//! How events and answers read. Pure: values in, text out; nothing here asks or writes.
//!
//! What the earlier netspy printed is the beginning of what is printed here: a row starts with its columns.

pub(crate) mod connection;
pub(crate) mod drops;
pub(crate) mod escape;
pub(crate) mod loss;
pub(crate) mod remark;
pub(crate) mod rows;
pub(crate) mod table;
pub(crate) mod time;

/// Whom an answer is about.
pub(crate) struct Subject<'a> {
    /// 0 for any.
    pub(crate) pid: u32,
    /// Empty for any.
    pub(crate) name: &'a str,
}

impl Subject<'_> {
    /// At the beginning of a sentence that found something.
    pub(crate) fn all(&self) -> String {
        match self.named("Process") {
            Some(named) => named,
            None => "All processes".to_owned(),
        }
    }

    /// Inside a sentence that found nothing.
    pub(crate) fn any(&self) -> String {
        match self.named("process") {
            Some(named) => named,
            None => "any process".to_owned(),
        }
    }

    /// After a sentence that found nothing: empty where nobody was named.
    pub(crate) fn suffix(&self) -> String {
        self.named("process").map(|named| format!(" for {named}")).unwrap_or_default()
    }

    fn named(&self, process: &str) -> Option<String> {
        let name = escape::text(self.name);
        match (self.pid, self.name.is_empty()) {
            (0, true) => None,
            (0, false) => Some(format!("{process} '{name}'")),
            (pid, true) => Some(format!("PID {pid}")),
            (pid, false) => Some(format!("PID {pid} (process '{name}')")),
        }
    }
}
