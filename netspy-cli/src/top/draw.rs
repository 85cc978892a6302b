//! The screen as ratatui draws it: four panels where they fit, else the one that keys are about.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as Text, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Table};

use super::screen::{PANELS, Screen};
use crate::registry::{Line, Panel};
use crate::render::time;

/// Room that four panels need.
const WIDE: u16 = 100;
const HIGH: u16 = 20;
/// Columns of a number.
const NUMBER: u16 = 8;
const KEYS: &str = "q quit  Tab panel  s sort  r reverse  ↑↓ scroll  p pause";

/// Draws all of it, in colours or without.
pub(super) fn draw(frame: &mut Frame<'_>, screen: &Screen, is_coloured: bool) {
    let style = |color: Color| if is_coloured { Style::new().fg(color) } else { Style::new() };
    let notices: Vec<_> = notices(screen);
    let about = if notices.is_empty() {
        vec![Text::from("Nothing was lost in this window.")]
    } else {
        notices.iter().map(|text| Text::styled(text.as_str(), style(Color::Yellow))).collect()
    };
    let [head, remarks, body, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(about.len() as u16),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(headline(screen)), head);
    frame.render_widget(Paragraph::new(about), remarks);
    frame.render_widget(Paragraph::new(KEYS), keys);
    if body.width < WIDE || body.height < HIGH {
        return panel(frame, body, screen, screen.focus, is_coloured);
    }
    let halves = Layout::vertical([Constraint::Fill(1); 2]).split(body);
    for index in 0..PANELS {
        let sides = Layout::horizontal([Constraint::Fill(1); 2]).split(halves[index / 2]);
        panel(frame, sides[index % 2], screen, index, is_coloured);
    }
}

fn headline(screen: &Screen) -> Text<'_> {
    let now = screen.overview.query_time.parse::<Timestamp>().unwrap_or_default();
    let clock = time::local(&screen.overview.query_time, now, &TimeZone::system());
    let paused = if screen.is_paused { ", paused" } else { "" };
    let overview = &screen.overview;
    Text::from(vec![
        Span::styled("netspy top", Modifier::BOLD),
        Span::raw(format!(
            "  {clock}{paused}  {}: {} connections, {} failed, {} drops  {}",
            overview.window, overview.connections, overview.failed, overview.drops, screen.server
        )),
    ])
}

fn notices(screen: &Screen) -> Vec<String> {
    let remarks = screen.overview.remarks.iter().filter(|remark| remark.is_notice());
    let remarks = remarks.map(|remark| remark.text().trim().to_owned());
    screen.problem.iter().map(|problem| format!("! {problem}")).chain(remarks).collect()
}

/// How much of a line a word may take.
fn room(heading: &str) -> Constraint {
    match heading {
        "PROTO" => Constraint::Length(6),
        "CLASS" | "OUTCOME" => Constraint::Length(12),
        "ERROR" => Constraint::Length(13),
        "DESTINATION" | "REASON" => Constraint::Fill(2),
        _ => Constraint::Fill(1),
    }
}

fn panel(frame: &mut Frame<'_>, area: Rect, screen: &Screen, index: usize, is_coloured: bool) {
    let Panel { title, words, numbers, lines } = &screen.overview.panels[index];
    let order = screen.orders[index];
    let mark = |column: usize, name: &str| {
        let arrow = if order.is_reversed { "▲" } else { "▼" };
        if column == order.column { format!("{name}{arrow}") } else { name.to_owned() }
    };
    let by_word = |column: usize| if column == 0 { numbers.len() } else { usize::MAX };
    let words_head = words.iter().enumerate().map(|(n, name)| Cell::from(mark(by_word(n), name)));
    let numbers_head =
        numbers.iter().enumerate().map(|(n, name)| Cell::from(Text::from(mark(n, name)).right_aligned()));
    let head = Row::new(words_head.chain(numbers_head)).style(Modifier::BOLD);
    let failed = numbers.iter().position(|name| *name == "FAILED");
    let row = |line: &Line| {
        let is_bad = failed.is_some_and(|failed| line.numbers[failed] > 0)
            || line.words.iter().any(|word| word == "harmful");
        let words = line.words.iter().map(|word| Cell::from(word.clone()));
        let numbers = line.numbers.iter().map(|n| Cell::from(Text::from(n.to_string()).right_aligned()));
        let style = if is_bad && is_coloured { Style::new().fg(Color::Red) } else { Style::new() };
        Row::new(words.chain(numbers)).style(style)
    };
    let widths =
        words.iter().map(|name| room(name)).chain(numbers.iter().map(|_| Constraint::Length(NUMBER)));
    let title = format!(" {} {title} ({}) ", index + 1, lines.len());
    let is_focused = index == screen.focus;
    let border = Style::new().add_modifier(if is_focused { Modifier::BOLD } else { Modifier::DIM });
    let table = Table::new(screen.lines(index).into_iter().map(row), widths)
        .header(head)
        .block(Block::bordered().title(title).border_style(border));
    frame.render_widget(table, area);
}
