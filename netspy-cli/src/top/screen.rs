//! What the screen shows and what the keys do to it. Pure: no terminal, no server.

use std::cmp::Reverse;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::registry::{Line, Overview, Panel};

/// Panels of an overview.
pub(super) const PANELS: usize = 4;

pub(super) struct Screen {
    pub(super) server: String,
    pub(super) overview: Overview,
    /// Why the overview is old; safe to write to a terminal.
    pub(super) problem: Option<String>,
    pub(super) is_paused: bool,
    /// The panel that keys are about.
    pub(super) focus: usize,
    pub(super) orders: [Order; PANELS],
}

/// How a panel is shown.
#[derive(Clone, Copy, Default)]
pub(super) struct Order {
    /// The number it is sorted by, largest first; past the last number, the first word.
    pub(super) column: usize,
    pub(super) is_reversed: bool,
    /// Lines above what is shown.
    pub(super) scrolled: usize,
}

/// What a key means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Stay,
    Leave,
}

impl Screen {
    pub(super) fn new(server: String, overview: Overview) -> Self {
        let orders = [Order::default(); PANELS];
        Self { server, overview, problem: None, is_paused: false, focus: 0, orders }
    }

    /// Does what a key says.
    pub(super) fn press(&mut self, key: KeyEvent) -> Next {
        let numbers = self.overview.panels[self.focus].numbers.len();
        let last = self.overview.panels[self.focus].lines.len().saturating_sub(1);
        let order = &mut self.orders[self.focus];
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Next::Leave,
            KeyCode::Char('q') | KeyCode::Esc => return Next::Leave,
            KeyCode::Tab | KeyCode::Right => self.focus = (self.focus + 1) % PANELS,
            KeyCode::BackTab | KeyCode::Left => self.focus = (self.focus + PANELS - 1) % PANELS,
            KeyCode::Char(digit @ '1'..='4') => self.focus = digit as usize - '1' as usize,
            KeyCode::Char('s') => {
                *order = Order { column: (order.column + 1) % (numbers + 1), ..Order::default() }
            }
            KeyCode::Char('r') => order.is_reversed = !order.is_reversed,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Down | KeyCode::Char('j') => order.scrolled = (order.scrolled + 1).min(last),
            KeyCode::Up | KeyCode::Char('k') => order.scrolled = order.scrolled.min(last).saturating_sub(1),
            KeyCode::Home => order.scrolled = 0,
            KeyCode::End => order.scrolled = last,
            _ => {}
        }
        Next::Stay
    }

    /// A panel's lines from the first one shown on.
    pub(super) fn lines(&self, panel: usize) -> Vec<&Line> {
        let Panel { lines, .. } = &self.overview.panels[panel];
        let order = self.orders[panel];
        let mut lines: Vec<_> = lines.iter().collect();
        // Stable: equal ones stay in the order of their words.
        lines.sort_by_key(|line| Reverse(line.numbers.get(order.column)));
        if order.is_reversed {
            lines.reverse();
        }
        let scrolled = order.scrolled.min(lines.len().saturating_sub(1));
        lines.drain(..scrolled);
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen() -> Screen {
        let line =
            |word: &str, numbers: &[u64]| Line { words: vec![word.to_owned()], numbers: numbers.to_vec() };
        let mut overview = Overview::default();
        overview.panels[0] = Panel {
            title: "Processes",
            words: &["PROCESS"],
            numbers: &["CONNS", "FAILED"],
            lines: vec![line("a", &[1, 9]), line("b", &[5, 0]), line("c", &[5, 3])],
        };
        Screen::new(String::new(), overview)
    }

    fn press(screen: &mut Screen, key: KeyCode) -> String {
        assert_eq!(screen.press(key.into()), Next::Stay);
        screen.lines(0).iter().map(|line| line.words[0].as_str()).collect()
    }

    #[test]
    fn lines_are_sorted_by_each_column_and_back() {
        let mut screen = screen();
        assert_eq!(press(&mut screen, KeyCode::Null), "bca");
        assert_eq!(press(&mut screen, KeyCode::Char('s')), "acb");
        assert_eq!(press(&mut screen, KeyCode::Char('r')), "bca");
        assert_eq!(press(&mut screen, KeyCode::Char('s')), "abc", "by name");
        assert_eq!(press(&mut screen, KeyCode::Char('s')), "bca");
    }

    #[test]
    fn one_can_scroll_to_the_last_line_and_no_further() {
        let mut screen = screen();
        assert_eq!(press(&mut screen, KeyCode::Down), "ca");
        assert_eq!(press(&mut screen, KeyCode::Down), "a");
        assert_eq!(press(&mut screen, KeyCode::Down), "a");
        assert_eq!(press(&mut screen, KeyCode::Up), "ca");
        assert_eq!(press(&mut screen, KeyCode::End), "a");
        assert_eq!(press(&mut screen, KeyCode::Home), "bca");
    }

    #[test]
    fn panels_are_chosen_and_the_screen_is_left() {
        let mut screen = screen();
        for (key, focus) in [
            (KeyCode::Tab, 1),
            (KeyCode::BackTab, 0),
            (KeyCode::Left, 3),
            (KeyCode::Char('2'), 1),
            (KeyCode::Char('s'), 1),
        ] {
            press(&mut screen, key);
            assert_eq!(screen.focus, focus);
        }
        press(&mut screen, KeyCode::Char('p'));
        assert!(screen.is_paused);
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        for key in [interrupt, KeyCode::Char('q').into(), KeyCode::Esc.into()] {
            assert_eq!(screen.press(key), Next::Leave);
        }
    }
}
