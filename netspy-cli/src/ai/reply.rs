//! What a model says is text to read and nothing else: no control characters, no links, no images.

/// Characters of an answer that are worth reading.
const LONGEST: usize = 8_000;
const REMOVED: &str = "(link removed)";

/// The same words, harmless.
pub(super) fn clean(text: &str) -> String {
    let text: String = text.chars().filter(|c| *c == '\n' || !c.is_control()).take(LONGEST).collect();
    without_addresses(&without_markup(&text)).trim().to_owned()
}

/// `[words](target)` and `![words](target)` become their words.
fn without_markup(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('[') {
        let after = &rest[open + 1..];
        let link = after.find("](").and_then(|end| {
            let close = after[end..].find(')')?;
            Some((&after[..end], end + close + 1))
        });
        let Some((words, length)) = link else {
            plain.push_str(&rest[..=open]);
            rest = after;
            continue;
        };
        plain.push_str(rest[..open].trim_end_matches('!'));
        plain.push_str(words);
        rest = &after[length..];
    }
    plain + rest
}

fn without_addresses(text: &str) -> String {
    let lines = text.split('\n').map(|line| {
        let words = line.split(' ').map(|word| {
            let lower = word.to_lowercase();
            let is_link = lower.contains("://")
                || lower.contains("www.")
                || lower.contains("<img")
                || lower.contains("javascript:");
            if is_link { REMOVED } else { word }
        });
        words.collect::<Vec<_>>().join(" ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_can_be_clicked_or_obeyed_remains() {
        assert_eq!(clean("\x1b[31mred\x07\nline"), "[31mred\nline");
        assert_eq!(clean("see [here](https://evil.example/?q=1) now"), "see here now");
        assert_eq!(clean("![x](http://evil.example/p.png)done"), "xdone");
        assert_eq!(clean("go to https://evil.example now"), "go to (link removed) now");
        assert_eq!(clean("an [array] and (words)"), "an [array] and (words)");
    }
}
