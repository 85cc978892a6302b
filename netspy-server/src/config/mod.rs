//! Where settings come from: flag, then `NETSPY_*`, then the file, then the default. clap parses all of them
//! by the one definition in [`Settings`]: the environment's names follow from the flags', and what the file says
//! takes the place of a default.

mod file;
mod show;

use std::{ffi::OsString, fmt, path::PathBuf};

use clap::{
    ArgMatches, Args, Command, CommandFactory, FromArgMatches, error::ErrorKind, parser::ValueSource,
};
use serde::Serialize;
use thiserror::Error;

use crate::{
    cli::{Flags, Job, Listen, Serving, Settings, Socket},
    enrich::Cmdline,
};
pub use file::FileError;
use file::FileSettings;
pub use show::show;

/// Why there are no settings.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The command line or the environment, or a wish for help.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Who said it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "from", content = "at")]
pub enum Origin {
    /// The command line.
    Flag,
    /// This variable.
    Environment(String),
    /// This file.
    File(PathBuf),
    /// Nobody.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A setting as it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Name of the flag, without dashes, and of the key.
    pub name: String,
    /// As it was written; `None` where nothing is set.
    pub value: Option<String>,
    /// Who said so.
    pub origin: Origin,
}

/// What was said, and by whom.
#[derive(Clone, Debug)]
pub struct Said {
    /// All flags and settings.
    pub flags: Flags,
    /// Each setting.
    pub settings: Vec<Setting>,
}

/// Puts together what the command line (its first word is the program), the environment and the file say.
pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Said, ConfigError> {
    let words: Vec<_> = words.into_iter().map(as_long_flag).collect();
    let first = command(&FileSettings::default()).try_get_matches_from(&words)?;
    let (serving, job) = serving_part(&first);
    if job.is_some_and(|job| job != "config") {
        return Ok(Said { flags: Flags::from_arg_matches(&first)?, settings: Vec::new() });
    }
    let file = FileSettings::read(serving.get_one::<PathBuf>("config").map(PathBuf::as_path))?;
    let matches = command(&file).try_get_matches_from(&words)?;
    let mut flags = Flags::from_arg_matches(&matches)?;
    let settings: Vec<_> = names().map(|name| setting(name, serving_part(&matches).0, &file)).collect();
    let serving = match &mut flags.job {
        Some(Job::Config(config)) => &mut config.serving,
        _ => &mut flags.serving,
    };
    let settings = settle(serving, settings)?;
    Ok(Said { flags, settings })
}

/// The command line as clap knows it; for its man pages and completions.
pub fn command_line() -> Command {
    command(&FileSettings::default())
}

/// The command line with what the file says as defaults.
fn command(file: &FileSettings) -> Command {
    let layered = |command: Command| {
        command.mut_args(|arg| match arg.get_long() {
            Some(name) if names().any(|known| known == name) => {
                let values = file.values(name).to_vec();
                let variable = variable(name);
                let arg = arg.env(variable).hide_env_values(true);
                if values.is_empty() { arg } else { arg.default_values(values) }
            }
            _ => arg,
        })
    };
    layered(Flags::command()).mut_subcommand("config", layered)
}

/// Every setting by name: what a key of the file may be.
fn names() -> impl Iterator<Item = String> {
    let all = Settings::augment_args(Command::new(""));
    let names: Vec<_> = all.get_arguments().filter_map(|arg| arg.get_long().map(str::to_owned)).collect();
    names.into_iter()
}

/// `keep-for` → `NETSPY_KEEP_FOR`
fn variable(name: &str) -> String {
    format!("NETSPY_{}", name.replace('-', "_").to_uppercase())
}

/// Where the server's flags were matched, and the job if there is one.
fn serving_part(matches: &ArgMatches) -> (&ArgMatches, Option<&str>) {
    match matches.subcommand() {
        Some(("config", inner)) => (inner, Some("config")),
        Some((job, _)) => (matches, Some(job)),
        None => (matches, None),
    }
}

fn setting(name: String, matches: &ArgMatches, file: &FileSettings) -> Setting {
    let id = name.replace('-', "_");
    let origin = match matches.value_source(&id) {
        Some(ValueSource::CommandLine) => Origin::Flag,
        Some(ValueSource::EnvVariable) => Origin::Environment(variable(&name)),
        _ if !file.values(&name).is_empty() => Origin::File(file.path().to_owned()),
        _ => Origin::Default,
    };
    let raw =
        matches.get_raw(&id).map(|values| values.map(|value| value.to_string_lossy()).collect::<Vec<_>>());
    Setting { name, value: raw.map(|values| values.join(",")), origin }
}

/// What follows from several settings together.
fn settle(serving: &mut Serving, mut settings: Vec<Setting>) -> Result<Vec<Setting>, clap::Error> {
    let conflict = |text: &str| Err(Flags::command().error(ErrorKind::ArgumentConflict, text));
    let from = |name: &str| {
        settings.iter().find(|setting| setting.name == name).map_or(Origin::Default, |it| it.origin.clone())
    };
    let cmdline = from("cmdline");
    if let Some(port) = serving.port {
        if from("listen") == Origin::Flag {
            return conflict("--port and --listen cannot be used together: --listen has a port");
        }
        serving.settings.listen = Listen::on_loopback(port);
        settings.iter_mut().filter(|setting| setting.name == "listen").for_each(|setting| {
            setting.value = Some(format!("127.0.0.1:{port}"));
            setting.origin = Origin::Flag;
        });
    }
    if serving.record.is_some() && serving.settings.cmdline != Cmdline::Full {
        return conflict("--record keeps the arguments of processes raw: it needs --cmdline full");
    }
    if serving.replay.is_some() {
        if cmdline == Origin::Flag {
            return conflict("--replay shows what was recorded: --cmdline cannot be used with it");
        }
        // A machine's settings are for what is traced there: a recording must not get into its history.
        for setting in &mut settings {
            let is_wished = setting.origin == Origin::Flag;
            match setting.name.as_str() {
                "socket" if !is_wished => serving.settings.socket = Socket::Off,
                "db" | "cmdline" if !is_wished => {}
                _ => continue,
            }
            if !is_wished {
                (setting.value, setting.origin) = (None, Origin::Default);
            }
        }
    }
    let made = settings.iter().filter(|setting| setting.origin != Origin::Default);
    serving.made = made.map(|setting| setting.name.clone()).collect();
    Ok(settings)
}

/// The earlier server's `-addr`, `-port` and `-http`, as Go's flag package takes them.
fn as_long_flag(word: OsString) -> OsString {
    let name = word.to_str().and_then(|word| word.strip_prefix('-')?.split('=').next());
    if matches!(name, Some("addr" | "port" | "http" | "listen")) {
        let mut long = OsString::from("-");
        long.push(word);
        return long;
    }
    word
}

#[cfg(test)]
mod tests;
