//! Tokens: made once, kept as hashes in a file, good until some day.
//!
//! A line of the file: `NAME EXPIRES SHA256`, such as `grafana 2027-02-19T10:00:00Z 9f86…`, or `never` instead of a
//! day. Lines that begin with `#` are comments. Only this module knows what a token looks like.

use std::{
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// How a token begins: whoever finds one knows what it opens.
const PREFIX: &str = "netspy_";
/// Instead of a day, for a token that does not expire.
const NEVER: &str = "never";

/// What is wrong with tokens.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error(
        "cannot read the tokens in {path}: {error}; make one with: netspy-server token NAME --file {path}",
        path = path.display()
    )]
    Unreadable { path: PathBuf, error: io::Error },
    /// A line says something else.
    #[error("line {line} of {} is not: NAME EXPIRES SHA256", path.display())]
    Malformed { path: PathBuf, line: usize },
    /// The file cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Unwritable { path: PathBuf, error: io::Error },
    /// A name must not break the line that it stands in.
    #[error("a token's name is letters, digits, dots, dashes and underscores")]
    Name,
    /// The system gives none.
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
    /// Later than any calendar.
    #[error("the token would expire too late; leave --expires out for one that does not expire")]
    TooLate,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: String,
    expires: Option<Timestamp>,
    hash: String,
}

/// Why a token lets nobody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unknown {
    /// It is in no line.
    #[error("the token is not known")]
    Unknown,
    /// It was.
    #[error("the token has expired")]
    Expired,
}

/// The file, as it was last read.
#[derive(Debug)]
pub struct Tokens {
    path: PathBuf,
    entries: RwLock<Vec<Entry>>,
}

impl Tokens {
    /// Reads the file.
    pub fn open(path: PathBuf) -> Result<Self, TokenError> {
        let entries = RwLock::new(read(&path)?);
        Ok(Self { path, entries })
    }

    /// Reads it again: a token that is gone is refused from now on. After an error everything stays as it was.
    pub fn reload(&self) -> Result<(), TokenError> {
        let entries = read(&self.path)?;
        *self.entries.write().unwrap_or_else(PoisonError::into_inner) = entries;
        Ok(())
    }

    /// Whose token this is.
    pub fn owner(&self, token: &str, now: Timestamp) -> Result<String, Unknown> {
        let hash = sha256(token);
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        // Hashes of 256 random bits: how long a comparison takes tells nothing about a token.
        let entry = entries.iter().find(|entry| entry.hash == hash).ok_or(Unknown::Unknown)?;
        if entry.expires.is_some_and(|expires| expires <= now) {
            return Err(Unknown::Expired);
        }
        Ok(entry.name.clone())
    }
}

/// Makes a token and appends its hash to the file; who gets it to see is up to the caller.
pub fn make(path: &Path, name: &str, lasts: Option<Duration>) -> Result<String, TokenError> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || !name.chars().all(is_part) {
        return Err(TokenError::Name);
    }
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(TokenError::Random)?;
    let token = format!("{PREFIX}{}", hex(&random));
    let expires = match lasts {
        None => NEVER.to_owned(),
        Some(lasts) => {
            let lasts = SignedDuration::try_from(lasts).map_err(|_| TokenError::TooLate)?;
            let expires = Timestamp::now().checked_add(lasts).map_err(|_| TokenError::TooLate)?;
            expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
        }
    };
    let line = format!("{name} {expires} {}\n", sha256(&token));
    let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    opened
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .map_err(|error| TokenError::Unwritable { path: path.to_owned(), error })?;
    Ok(token)
}

fn read(path: &Path) -> Result<Vec<Entry>, TokenError> {
    let text =
        fs::read_to_string(path).map_err(|error| TokenError::Unreadable { path: path.to_owned(), error })?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|(number, line)| {
            entry(line).ok_or_else(|| TokenError::Malformed { path: path.to_owned(), line: number })
        })
        .collect()
}

fn entry(line: &str) -> Option<Entry> {
    let words: Vec<_> = line.split_whitespace().collect();
    let [name, expires, hash] = words[..] else { return None };
    let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    let expires = if expires == NEVER { None } else { Some(expires.parse().ok()?) };
    is_hash.then(|| Entry { name: name.to_owned(), expires, hash: hash.to_ascii_lowercase() })
}

fn sha256(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_good_until_it_expires_or_its_line_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        let brief = make(&path, "ci", Some(Duration::from_mins(1))).unwrap();
        let lasting = make(&path, "grafana", None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&brief) && !text.contains(&lasting));

        let tokens = Tokens::open(path.clone()).unwrap();
        let now = Timestamp::now();
        let later = now + SignedDuration::from_mins(2);
        assert_eq!(tokens.owner(&brief, now).as_deref(), Ok("ci"));
        assert_eq!(tokens.owner(&brief, later), Err(Unknown::Expired));
        assert_eq!(tokens.owner(&lasting, later).as_deref(), Ok("grafana"));
        assert_eq!(tokens.owner("netspy_0", now), Err(Unknown::Unknown));

        fs::write(&path, "nonsense\n").unwrap();
        assert!(tokens.reload().is_err());
        assert!(tokens.owner(&lasting, now).is_ok(), "a broken file changes nothing");
        fs::write(&path, "# nobody\n").unwrap();
        tokens.reload().unwrap();
        assert_eq!(tokens.owner(&lasting, now), Err(Unknown::Unknown));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        let error = Tokens::open(path.clone()).unwrap_err().to_string();
        assert!(error.contains("netspy-server token NAME"), "{error}");
        for line in ["ci", "ci tomorrow 00", "ci never 00", "ci never x y"] {
            fs::write(&path, format!("\n{line}\n")).unwrap();
            assert!(Tokens::open(path.clone()).unwrap_err().to_string().starts_with("line 2 of"), "{line}");
        }
        for name in ["", "a b", "a\nb"] {
            assert!(matches!(make(&path, name, None), Err(TokenError::Name)));
        }
    }
}
