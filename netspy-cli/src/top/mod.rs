//! `netspy top`: the last seconds at a glance, asked again every second, until a key ends it.

mod draw;
mod screen;

use std::io::{self, IsTerminal};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use netspy_api::Client;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use serde_json::{Map, Value};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{MissedTickBehavior, interval};

use crate::output::{self, Color, Exit, Page};
use crate::registry::{Overview, Question, Tool, ToolError, overview};
use crate::render::escape;
use crate::waiting::Waiting;
use screen::{Next, Screen};

/// How often the server is asked.
const INTERVAL: Duration = Duration::from_secs(1);
/// How soon the reader of keys notices that it is to stop.
const PATIENCE: Duration = Duration::from_millis(50);

/// An overview on its way.
type Asked<'a> = Pin<Box<dyn Future<Output = Result<Overview, ToolError>> + 'a>>;

/// Shows the screen until it is left.
pub(crate) async fn run(
    client: &Client,
    tool: &Tool,
    arguments: Map<String, Value>,
    color: Color,
) -> io::Result<Exit> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        output::words("Error: top fills a terminal, and this is none; use summary, or follow -o ndjson");
        return Ok(Exit::Usage);
    }
    // What cannot be asked at all is said before the screen is taken.
    let begun = async {
        let question = Question::read(tool, arguments)?;
        let first = overview(client, &question).await?;
        Ok::<_, ToolError>((question, first))
    };
    let (question, first) = match Waiting::new().during(begun).await {
        Ok(begun) => begun,
        Err(error) => {
            output::words(&format!("Error: {}", escape::text(&error.to_string())));
            return Ok(Exit::from(&error));
        }
    };
    let server = escape::text(client.address()).into_owned();
    let mut screen = Screen::new(server, first);
    let mut terminal = ratatui::try_init()?;
    let mut keys = Keys::read();
    let shown = show(client, &question, &mut screen, &mut terminal, &mut keys.events, Page::new(color)).await;
    keys.stop();
    ratatui::try_restore()?;
    shown.map(|()| Exit::Success)
}

async fn show(
    client: &Client,
    question: &Question,
    screen: &mut Screen,
    terminal: &mut DefaultTerminal,
    events: &mut UnboundedReceiver<Event>,
    page: Page,
) -> io::Result<()> {
    let mut tick = interval(INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.reset();
    let mut asked: Option<Asked<'_>> = None;
    loop {
        terminal.draw(|frame| draw::draw(frame, screen, page.is_coloured))?;
        let is_idle = asked.is_none();
        let answered = async {
            match asked.as_mut() {
                Some(answer) => Pin::as_mut(answer).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = events.recv() => match event {
                Some(Event::Key(key)) if key.kind != KeyEventKind::Release && screen.press(key) == Next::Leave => {
                    return Ok(());
                }
                Some(_) => {}
                // The terminal is gone.
                None => return Ok(()),
            },
            answer = answered => {
                asked = None;
                match answer {
                    Ok(overview) => (screen.overview, screen.problem) = (overview, None),
                    Err(error) => screen.problem = Some(escape::text(&error.to_string()).into_owned()),
                }
            }
            _ = tick.tick(), if is_idle && !screen.is_paused => {
                asked = Some(Box::pin(overview(client, question)));
            }
        }
    }
}

/// Reads keys, which blocks, on a thread of its own.
struct Keys {
    events: UnboundedReceiver<Event>,
    is_over: Arc<AtomicBool>,
    reader: JoinHandle<()>,
}

impl Keys {
    fn read() -> Self {
        let (send, events) = unbounded_channel();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let reader = thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let event = match event::poll(PATIENCE) {
                    Ok(false) => continue,
                    Ok(true) => event::read(),
                    Err(error) => Err(error),
                };
                if event.map_or(true, |event| send.send(event).is_err()) {
                    return;
                }
            }
        });
        Self { events, is_over, reader }
    }

    /// Leaves the keys to whoever reads next.
    fn stop(self) {
        self.is_over.store(true, Ordering::Relaxed);
        // It panicked at worst, which has been shown.
        let _ = self.reader.join();
    }
}
