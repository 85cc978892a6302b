//! Rust source with comments and literals blanked out, so that a rule about code does not trip over prose.
//!
//! A lexer for exactly that purpose: it keeps every line in its place and does not understand anything else.

/// The source with each character of comments, strings and character literals replaced by a space.
pub(super) fn only(source: &str) -> String {
    let characters: Vec<char> = source.chars().collect();
    let mut blanked = String::with_capacity(source.len());
    let mut at = 0;
    while at < characters.len() {
        let rest = &characters[at..];
        let after_word = at > 0 && is_word(characters[at - 1]);
        let length = comment(rest).or_else(|| string(rest, after_word)).or_else(|| character(rest));
        let blank = length.is_some();
        let length = length.unwrap_or(1).min(rest.len());
        blanked.extend(rest[..length].iter().map(|c| if blank && *c != '\n' { ' ' } else { *c }));
        at += length;
    }
    blanked
}

/// Whether the character can be part of an identifier.
pub(super) fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Length of the comment that starts here; block comments nest.
fn comment(rest: &[char]) -> Option<usize> {
    if rest.starts_with(&['/', '/']) {
        return Some(rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()));
    }
    if !rest.starts_with(&['/', '*']) {
        return None;
    }
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with(&['/', '*']) {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with(&['*', '/']) {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    Some(at)
}

/// Length of the string that starts here, with its prefix (`r#"`, `b"`, `c"`, …).
fn string(rest: &[char], after_word: bool) -> Option<usize> {
    let prefix = rest.iter().take_while(|c| c.is_ascii_alphabetic()).count();
    let letters: String = rest[..prefix].iter().collect();
    if !["", "r", "b", "br", "c", "cr"].contains(&letters.as_str()) || (prefix > 0 && after_word) {
        return None;
    }
    let raw = letters.ends_with('r');
    let hashes = if raw { rest[prefix..].iter().take_while(|c| **c == '#').count() } else { 0 };
    let open = prefix + hashes;
    if rest.get(open) != Some(&'"') {
        return None;
    }
    let mut at = open + 1;
    while at < rest.len() {
        match rest[at] {
            '\\' if !raw => at += 1,
            '"' if rest[at + 1..].iter().take_while(|c| **c == '#').count() >= hashes => {
                return Some(at + 1 + hashes);
            }
            _ => {}
        }
        at += 1;
    }
    Some(rest.len())
}

/// Length of the character literal that starts here; a lifetime is none.
fn character(rest: &[char]) -> Option<usize> {
    match rest {
        ['\'', '\\', _, tail @ ..] => tail.iter().position(|c| *c == '\'').map(|end| end + 4),
        ['\'', _, '\'', ..] => Some(3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_vanish_and_lines_stay() {
        let source = "a(); // unsafe\n/* unsafe /* x */ \n unsafe */ b(\"unsafe \\\" unsafe\");\nc();";
        let code = only(source);
        assert!(!code.contains("unsafe"));
        assert_eq!(code.lines().count(), 4);
        assert!(code.contains("b(") && code.ends_with("c();"));
    }

    #[test]
    fn raw_strings_end_at_their_own_hashes() {
        assert_eq!(only(r##"x(r#"a " b"#); y"##).trim_end(), "x(          ); y");
        assert_eq!(only("x(r\"a\\\"); y"), "x(     ); y");
        assert_eq!(only("expr\"a\""), "expr   ", "a word that ends in r is no prefix");
    }

    #[test]
    fn lifetimes_are_code_and_characters_are_not() {
        assert_eq!(
            only("fn f<'a>(x: &'a str) { '\"'; '\\''; b'\\n'; unsafe {} }").matches("unsafe").count(),
            1
        );
        assert!(only("fn f<'a>(x: &'a str)").contains("&'a str"));
    }
}
