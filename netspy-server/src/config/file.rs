//! The file of settings: TOML whose keys are the flags' names. Every key must be known, every value right: a misspelt
//! one would be a setting that somebody believes in and that does not hold.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use clap::{Args, Command};
use thiserror::Error;
use toml::{Table, Value};

use super::names;
use crate::cli::Settings;

/// Read if nothing else is said, and if it is there.
const USUAL: &str = "/etc/netspy/server.toml";

/// What is wrong with the file.
#[derive(Debug, Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("the settings in {} cannot be read: {error}; --config names another file", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    /// It is not TOML.
    #[error("{} is not TOML: {reason}", path.display())]
    NotToml { path: PathBuf, reason: String },
    /// Nothing is called like that.
    #[error("{}: there is no setting '{key}'; there are: {known}", path.display())]
    UnknownKey { path: PathBuf, key: String, known: String },
    /// The setting takes something else.
    #[error("{}: {key}: {reason}", path.display())]
    Value { path: PathBuf, key: String, reason: String },
}

/// What the file says: texts as they would stand behind a flag.
#[derive(Debug, Default)]
pub(super) struct FileSettings {
    path: PathBuf,
    values: BTreeMap<String, Vec<String>>,
}

impl FileSettings {
    /// Reads this file, or the usual one if there is one.
    pub(super) fn read(path: Option<&Path>) -> Result<Self, FileError> {
        let is_wished = path.is_some();
        let path = path.unwrap_or(Path::new(USUAL)).to_owned();
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(path, &text),
            Err(error) if error.kind() == ErrorKind::NotFound && !is_wished => Ok(Self::default()),
            Err(error) => Err(FileError::Unreadable { path, error }),
        }
    }

    fn parse(path: PathBuf, text: &str) -> Result<Self, FileError> {
        let table: Table = match text.parse() {
            Ok(table) => table,
            Err(error) => return Err(FileError::NotToml { path, reason: error.to_string() }),
        };
        let mut values = BTreeMap::new();
        for (key, value) in table {
            if !names().any(|name| name == key) {
                let known = names().collect::<Vec<_>>().join(", ");
                return Err(FileError::UnknownKey { path, key, known });
            }
            match texts(&value).and_then(|texts| check(&key, &texts).map(|()| texts)) {
                Ok(texts) => values.insert(key, texts),
                Err(reason) => return Err(FileError::Value { path, key, reason }),
            };
        }
        Ok(Self { path, values })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What it says about a setting; nothing if it does not.
    pub(super) fn values(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }
}

fn texts(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Integer(number) => Ok(vec![number.to_string()]),
        Value::Array(list) => {
            let each = list.iter().map(|value| value.as_str().map(str::to_owned));
            each.collect::<Option<_>>().ok_or_else(|| "expected a list of strings".to_owned())
        }
        _ => Err("expected a string in quotes".to_owned()),
    }
}

/// Whether the flag would take these values: so that the message names the file, not the flag alone.
fn check(key: &str, values: &[String]) -> Result<(), String> {
    let words = values.iter().map(|value| format!("--{key}={value}"));
    let taken = Settings::augment_args(Command::new("")).no_binary_name(true).try_get_matches_from(words);
    taken.map(drop).map_err(|error| {
        let text = error.to_string();
        let first = text.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default();
        first.split_whitespace().collect::<Vec<_>>().join(" ")
    })
}
