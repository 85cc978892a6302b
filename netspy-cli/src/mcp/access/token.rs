//! Static bearer tokens: made once, kept as hashes in a file, good for some scopes until some day.
//!
//! A line of the file: `NAME SCOPES EXPIRES SHA256`, such as
//! `ci netspy:read,netspy:trace 2027-02-19T10:00:00Z 9f86…`. Lines that begin with `#` are comments.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use jiff::{SignedDuration, Timestamp};

use super::caller::{Caller, SCOPES, reach_of};
use crate::cli::TokenFlags;
use crate::digest::{hex, sha256};
use crate::mcp::Done;
use crate::output::{self, Exit};
use crate::registry::Since;

/// How a token of ours begins: whoever finds one knows what it opens.
pub(super) const PREFIX: &str = "netspy_";

/// One line of the file.
struct Entry {
    caller: Caller,
    expires: Timestamp,
    hash: String,
}

/// The file, read again when it changes: a token that is removed is refused from then on.
pub(in crate::mcp) struct Tokens {
    file: PathBuf,
    read: Mutex<(Option<SystemTime>, Vec<Entry>)>,
}

impl Tokens {
    /// Reads the file.
    pub(in crate::mcp) fn open(file: PathBuf) -> Result<Self, String> {
        let entries = entries(&file)?;
        Ok(Self { read: Mutex::new((modified(&file), entries)), file })
    }

    /// Whose token this is, or why it is none.
    pub(super) fn caller(&self, token: &str, now: Timestamp) -> Result<Caller, &'static str> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let modified = modified(&self.file);
        if read.0 != modified {
            // A file that cannot be read any more lets nobody in.
            *read = (modified, entries(&self.file).unwrap_or_default());
        }
        let hash = sha256(token);
        // Hashes of 256 random bits: how long a comparison takes tells nothing about a token.
        let entry = read.1.iter().find(|entry| entry.hash == hash).ok_or("the token is not known")?;
        if entry.expires <= now {
            return Err("the token has expired");
        }
        Ok(entry.caller.clone())
    }
}

fn modified(file: &PathBuf) -> Option<SystemTime> {
    fs::metadata(file).and_then(|metadata| metadata.modified()).ok()
}

fn entries(file: &PathBuf) -> Result<Vec<Entry>, String> {
    let text = fs::read_to_string(file).map_err(|error| {
        let path = file.display();
        format!(
            "cannot read the tokens in {path}: {error}; make one with: netspy mcp token NAME --file {path}"
        )
    })?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let parsed = lines.map(|(number, line)| {
        entry(line)
            .ok_or_else(|| format!("line {number} of {} is not: NAME SCOPES EXPIRES SHA256", file.display()))
    });
    parsed.collect()
}

fn entry(line: &str) -> Option<Entry> {
    let mut words = line.split_whitespace();
    let (name, scopes) = (words.next()?, words.next()?);
    let expires = words.next()?.parse().ok()?;
    let hash = words.next()?.to_ascii_lowercase();
    let is_sound =
        hash.len() == 64 && words.next().is_none() && scopes.split(',').all(|s| reach_of(s).is_some());
    is_sound.then(|| Entry { caller: Caller::new(name, scopes.split(',')), expires, hash })
}

/// `netspy mcp token`: prints a new token, keeps its hash.
pub(in crate::mcp) fn make(flags: &TokenFlags) -> Done {
    let usage = |reason: String| (Exit::Usage, reason);
    let is_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if flags.name.is_empty() || !flags.name.chars().all(is_name) {
        return Err(usage("a token's name is letters, digits, dots and dashes".to_owned()));
    }
    if let Some(scope) = flags.scopes.iter().find(|scope| reach_of(scope).is_none()) {
        let known = SCOPES.map(|(scope, _)| scope).join(", ");
        return Err(usage(format!("'{scope}' is no scope; there are: {known}")));
    }
    let now = Timestamp::now();
    let expires = match flags
        .expires
        .parse()
        .map_err(|_| usage("--expires takes 30d, 12h or a moment (RFC 3339)".to_owned()))?
    {
        Since::Moment(moment) => moment,
        Since::Ago(seconds) => now + SignedDuration::from_secs(seconds.into()),
    };
    let failed = |reason: String| (Exit::Failed, reason);
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| failed(format!("no random numbers: {error}")))?;
    let token = format!("{PREFIX}{}", hex(&random));
    let expires = expires.strftime("%Y-%m-%dT%H:%M:%SZ");
    let line = format!("{} {} {expires} {}\n", flags.name, flags.scopes.join(","), sha256(&token));
    let mut options = OpenOptions::new();
    let written = options.create(true).append(true).mode(0o600).open(&flags.file);
    written
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .map_err(|error| failed(format!("cannot write {}: {error}", flags.file.display())))?;
    output::words(&format!("The token is shown this once; it is good until {expires}:"));
    Ok(output::settle(output::data(&token).map(|()| Exit::Success)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Reach;

    #[test]
    fn a_token_is_good_for_its_scopes_until_it_expires_or_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("tokens");
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        fs::write(&file, format!("# ours\nci netspy:read,netspy:ai 2026-11-22T00:00:00Z {}\n", sha256("t")))
            .unwrap();
        let tokens = Tokens::open(file.clone()).unwrap();
        let caller = tokens.caller("t", at("2026-11-21T00:00:00Z")).unwrap();
        assert_eq!(caller.name, "ci");
        assert_eq!(
            [Reach::Read, Reach::Trace, Reach::Ai].map(|reach| caller.may(reach)),
            [true, false, true]
        );
        assert_eq!(tokens.caller("t", at("2026-11-22T00:00:00Z")), Err("the token has expired"));
        assert_eq!(tokens.caller("u", at("2026-11-21T00:00:00Z")), Err("the token is not known"));
        fs::write(&file, "").unwrap();
        let earlier = SystemTime::now() - std::time::Duration::from_mins(1);
        fs::File::open(&file).unwrap().set_modified(earlier).unwrap();
        assert!(tokens.caller("t", at("2026-11-21T00:00:00Z")).is_err());
    }

    #[test]
    fn a_broken_line_is_named() {
        for line in ["ci", "ci netspy:write 2026-11-22T00:00:00Z 00", "ci netspy:read tomorrow 00"] {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("tokens");
            fs::write(&file, format!("\n{line}\n")).unwrap();
            assert!(Tokens::open(file).err().unwrap().starts_with("line 2 of"));
        }
    }
}
