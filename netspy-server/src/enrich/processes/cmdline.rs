//! The arguments of a process as one line of text, with or without what looks like a secret. Pure.

/// What is kept of the arguments of processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Cmdline {
    /// All.
    Full,
    /// All but values of what is called a password, token, key, …, and user information in URLs.
    Redacted,
    /// Nothing.
    Off,
}

/// What stands for a secret.
const HIDDEN: &str = "***";
/// What stands for arguments that were cut off.
const MORE: &str = "…";

/// Words in the name of a flag or variable whose value is a secret.
const SECRETS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "apikey",
    "api-key",
    "api_key",
    "access-key",
    "access_key",
    "private-key",
    "private_key",
    "credential",
    "auth",
];

impl Cmdline {
    /// One line from `arguments`, each ended by NUL, of which there were `length` bytes in all. `None` where there
    /// are none, or where none are wanted.
    pub fn line(self, arguments: &[u8], length: usize) -> Option<String> {
        if self == Self::Off {
            return None;
        }
        let cut = length > arguments.len();
        let end = arguments.iter().rposition(|byte| *byte != 0)? + 1;
        // Trailing empty arguments count, unless a process wrote its title over them all.
        let whole = arguments.strip_suffix(&[0]).unwrap_or(arguments);
        let used = if arguments[..end].contains(&0) { whole } else { &arguments[..end] };
        let mut words: Vec<String> =
            used.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        let title = words.len() == 1;
        if self == Self::Redacted {
            if cut {
                words.pop(); // half an argument does not show that it is a secret
            }
            redact(&mut words);
        }
        let mut line = if title {
            words.concat()
        } else {
            words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
        };
        if cut {
            line.push_str(MORE);
        }
        Some(line)
    }
}

/// In quotes where its end would not be clear without.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_@%+=:,./-*?[]{}~^#!…".contains(c) || !c.is_ascii();
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn redact(words: &mut [String]) {
    let mut hide_next = false;
    for word in words.iter_mut().skip(1) {
        let is_flag = word.starts_with('-');
        if std::mem::take(&mut hide_next) && !is_flag {
            HIDDEN.clone_into(word);
            continue;
        }
        if let Some(at) = value_of_secret(word) {
            word.replace_range(at.., HIDDEN);
        } else {
            hide_next = word == "-p" || word == "-u" || is_flag && is_secret(word);
            hide_user_information(word);
        }
    }
}

/// Where the secret in a word begins: `--password=…`, `TOKEN=…`, `-p…`, `-u name:…`, `Authorization: …`.
fn value_of_secret(word: &str) -> Option<usize> {
    let separator = word.find(['=', ':']);
    if let Some(at) = separator.filter(|at| is_secret(&word[..*at]) && *at + 1 < word.len()) {
        return Some(at + 1);
    }
    let short = word.starts_with("-p") || word.starts_with("-u");
    (short && !word.starts_with("--") && word.len() > 2).then_some(2)
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRETS.iter().any(|secret| name.contains(secret))
}

/// `scheme://user:password@host` → `scheme://***@host`.
fn hide_user_information(word: &mut String) {
    let mut from = 0;
    while let Some(start) = word[from..].find("://").map(|at| from + at + 3) {
        let authority = word[start..].find(['/', '?', '#', ' ']).map_or(word.len(), |at| start + at);
        if let Some(at) = word[start..authority].rfind('@') {
            word.replace_range(start..start + at, HIDDEN);
        }
        from = start;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(mode: Cmdline, words: &[&str]) -> Option<String> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| [word.as_bytes(), b"\0"].concat()).collect();
        mode.line(&bytes, bytes.len())
    }

    #[test]
    fn arguments_are_one_line_that_can_be_taken_apart_again() {
        let full = |words: &[&str]| line(Cmdline::Full, words).unwrap();
        assert_eq!(full(&["curl", "-s", "http://a/?b=1"]), "curl -s http://a/?b=1");
        assert_eq!(full(&["sh", "-c", "echo 'a' $b"]), r"sh -c 'echo '\''a'\'' $b'");
        assert_eq!(full(&["a", "", "\u{1b}[31m\n", "é", ""]), "a '' '\u{1b}[31m\n' é ''");
        assert_eq!(full(&["nginx: worker process"]), "nginx: worker process");
        assert_eq!(Cmdline::Full.line(b"postgres: writer\0\0\0\0", 20).unwrap(), "postgres: writer");
        assert_eq!(Cmdline::Full.line(b"a\0\xff\xfe\0", 5).unwrap(), "a \u{fffd}\u{fffd}");
        assert_eq!(Cmdline::Full.line(b"cat\0fi", 9000).unwrap(), "cat fi…");
        assert_eq!(Cmdline::Full.line(b"", 0), None);
        assert_eq!(Cmdline::Full.line(b"\0\0", 2), None);
        assert_eq!(line(Cmdline::Off, &["curl"]), None);
    }

    #[test]
    fn what_looks_like_a_secret_is_hidden() {
        for (words, expected) in [
            (&["mysql", "--password=s3", "-h", "db"][..], "mysql --password=*** -h db"),
            (&["mysql", "-ps3", "db"], "mysql -p*** db"),
            (&["tool", "--api-key", "s3", "x"], "tool --api-key *** x"),
            (&["tool", "--token", "--verbose"], "tool --token --verbose"),
            (&["env", "GITHUB_TOKEN=s3", "A=b"], "env GITHUB_TOKEN=*** A=b"),
            (&["curl", "-u", "me:s3", "http://a/"], "curl -u *** http://a/"),
            (&["curl", "-H", "Authorization: Bearer s3"], "curl -H Authorization:***"),
            (&["git", "clone", "https://me:s3@h/p?q=a@b"], "git clone https://***@h/p?q=a@b"),
            (&["x", "--db=postgres://me:s3@h/d"], "x --db=postgres://***@h/d"),
            (&["ls", "http://a:80/b@c", "plain"], "ls http://a:80/b@c plain"),
        ] {
            assert_eq!(line(Cmdline::Redacted, words).unwrap(), expected);
        }
        assert_eq!(Cmdline::Redacted.line(b"curl\0https://me:s3", 900).unwrap(), "curl…");
    }
}
