//! `follow` at the prompt: connections appear above the line that is being typed, until Ctrl-C or `stop`.

use std::io;

use netspy_api::Client;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::editor::Printer;
use crate::follow::{self, Paper};
use crate::output::Format;
use crate::registry::Question;

/// Ends when it is dropped.
pub(super) struct Following(JoinHandle<()>);

impl Following {
    pub(super) fn start(
        runtime: &Handle,
        client: &Client,
        question: Question,
        format: Format,
        printer: Printer,
    ) -> Self {
        let (client, mut above) = (client.clone(), Above(printer));
        Self(runtime.spawn(async move {
            let begun = follow::begin(&client, &question).await;
            // A terminal that cannot be written to any more ends the session itself.
            let _ = follow::print(&client, &question, begun, format, &mut above).await;
        }))
    }

    pub(super) fn is_going_on(&self) -> bool {
        !self.0.is_finished()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Above the prompt there is one place for data and for words.
struct Above(Printer);

impl Paper for Above {
    fn data(&mut self, text: &str) -> io::Result<()> {
        self.0.print(text)
    }

    fn words(&mut self, text: &str) {
        let _ = self.0.print(text);
    }
}
