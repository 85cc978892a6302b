//! Words of a line that is not finished: a quote may still be open.

use std::borrow::Cow;

/// The word under the cursor, at the end of what was typed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// Where it begins, its quote included.
    pub(super) start: usize,
    /// What it says so far, without quotes.
    pub(super) text: String,
    /// The words before it.
    pub(super) before: Vec<String>,
}

/// The last word; empty after a space.
pub(super) fn last(typed: &str) -> Word {
    let (mut start, mut text, mut before) = (0, String::new(), Vec::new());
    let (mut quote, mut is_escaped, mut is_begun) = (None, false, false);
    for (place, c) in typed.char_indices() {
        if !is_begun && !c.is_whitespace() {
            (start, is_begun) = (place, true);
        }
        match (quote, c) {
            _ if is_escaped => {
                text.push(c);
                is_escaped = false;
            }
            (None | Some('"'), '\\') => is_escaped = true,
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, c) if c.is_whitespace() => {
                if is_begun {
                    before.push(std::mem::take(&mut text));
                }
                is_begun = false;
            }
            (_, c) => text.push(c),
        }
    }
    Word { start: if is_begun { start } else { typed.len() }, text, before }
}

/// A word as it has to be typed.
pub(super) fn quoted(word: &str) -> String {
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(typed: &str) -> (usize, String, Vec<String>) {
        let Word { start, text, before } = last(typed);
        (start, text, before)
    }

    #[test]
    fn quotes_hold_words_together_and_may_be_open() {
        let before = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(word("list --pro"), (5, "--pro".into(), before(&["list"])));
        assert_eq!(word("list "), (5, String::new(), before(&["list"])));
        assert_eq!(word(""), (0, String::new(), before(&[])));
        assert_eq!(word("a 'my ap"), (2, "my ap".into(), before(&["a"])));
        assert_eq!(word("a \"x \\\" y\" b\\ c"), (11, "b c".into(), before(&["a", "x \" y"])));
        assert_eq!(word("ä  é"), (4, "é".into(), before(&["ä"])));
    }

    #[test]
    fn what_is_quoted_is_one_word_again() {
        for name in ["curl", "my app", "it's", "a\\b", "$HOME"] {
            let typed = quoted(name) + " ";
            assert_eq!(last(&typed).before, [name]);
        }
    }
}
