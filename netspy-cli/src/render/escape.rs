//! Strings that came from the machine, made safe to show.
//!
//! Whoever is watched chooses the name of the process: it may hold escape sequences that rewrite the terminal,
//! line ends that forge a row, or marks that turn the reading direction. None of them gets through.

use std::borrow::Cow;
use std::fmt::Write;

use serde_json::Value;

/// For a terminal: what cannot be seen is spelled out, as `\x1b` or `\u{202e}`.
pub(crate) fn text(raw: &str) -> Cow<'_, str> {
    if raw.chars().all(is_visible) {
        return Cow::Borrowed(raw);
    }
    let mut shown = String::with_capacity(raw.len() + 8);
    for c in raw.chars() {
        // Writing to a String cannot fail.
        let _ = match c {
            c if is_visible(c) => write!(shown, "{c}"),
            c if c.is_ascii() => write!(shown, "\\x{:02x}", u32::from(c)),
            c => write!(shown, "\\u{{{:x}}}", u32::from(c)),
        };
    }
    Cow::Owned(shown)
}

/// JSON on one line, where what cannot be seen is written as `\u` escapes: it reads back the same.
pub(crate) fn json(value: &Value) -> String {
    let plain = value.to_string();
    let mut shown = String::with_capacity(plain.len());
    for c in plain.chars() {
        if is_visible(c) {
            shown.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(shown, "\\u{unit:04x}");
        }
    }
    shown
}

/// The same value with every string as `text` shows it, for readers that take strings at their face.
pub(crate) fn strings(value: Value) -> Value {
    match value {
        Value::String(raw) => Value::String(text(&raw).into_owned()),
        Value::Array(list) => list.into_iter().map(strings).collect(),
        Value::Object(map) => map.into_iter().map(|(k, v)| (text(&k).into_owned(), strings(v))).collect(),
        other => other,
    }
}

fn is_visible(c: char) -> bool {
    match c {
        ' '..='~' => true,
        // Letters by category that are blank in every font.
        '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' => false,
        // The standard library knows what is unprintable, invisible or only modifies its neighbour.
        c => !c.is_ascii() && c.escape_debug().len() == 1,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ordinary_names_stay() {
        for name in ["curl", "kworker/0:1-events", "(sd-pam)", "bäckerei", "名前", "a b", "it's \\x", "🔗"]
        {
            assert_eq!(text(name), name);
        }
    }

    #[test]
    fn what_a_terminal_would_obey_is_spelled_out() {
        assert_eq!(text("\x1b[2Jowned\x07"), "\\x1b[2Jowned\\x07");
        assert_eq!(text("a\nb\r\t\0\x7f"), "a\\x0ab\\x0d\\x09\\x00\\x7f");
        assert_eq!(text("\u{9b}31m"), "\\u{9b}31m");
    }

    #[test]
    fn what_deceives_the_eye_is_spelled_out() {
        for hidden in [
            '\u{202e}',
            '\u{2066}',
            '\u{200b}',
            '\u{200f}',
            '\u{61c}',
            '\u{feff}',
            '\u{ad}',
            '\u{2028}',
            '\u{a0}',
            '\u{e0041}',
            '\u{301}',
            '\u{fe0f}',
            '\u{3164}',
            '\u{e000}',
            '\u{2060}',
            '\u{180e}',
        ] {
            assert_eq!(text(&format!("a{hidden}b")), format!("a\\u{{{:x}}}b", u32::from(hidden)));
        }
    }

    #[test]
    fn json_reads_back_the_same() {
        let value = json!({"name": "a\u{202e}\x1b\n\u{e0041}\u{9b}é\"\\"});
        let shown = json(&value);
        assert!(shown.chars().all(is_visible), "{shown}");
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
    }

    #[test]
    fn strings_are_shown_everywhere_in_a_value() {
        let value = json!({"a\n": ["\x1b", 1, {"b": "\u{202e}"}]});
        assert_eq!(strings(value), json!({"a\\x0a": ["\\x1b", 1, {"b": "\\u{202e}"}]}));
    }
}
