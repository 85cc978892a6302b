//! Whether a model may be asked, which one, and what it may be told. Off until somebody configures it.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use clap::Args;

const DEFAULT_BASE: &str = "https://api.openai.com/v1";
const DEFAULT_MODEL: &str = "gpt-4o-mini";
/// Variables of the environment that stand for flags.
pub(super) const MODEL: &str = "NETSPY_AI_MODEL";
pub(super) const KEY_FILE: &str = "NETSPY_AI_KEY_FILE";

/// What the command line says about it.
#[derive(Args, Clone, Debug, Default)]
#[command(
    next_help_heading = "Asking a model (off until OPENAI_API_KEY, OPENAI_BASE_URL or a key file is there)"
)]
pub(crate) struct AiFlags {
    /// Model to ask
    #[arg(
        long = "ai-model",
        global = true,
        value_name = "NAME",
        env = MODEL,
        hide_env_values = true,
        display_order = 110
    )]
    model: Option<String>,
    /// File with the key, instead of `OPENAI_API_KEY`
    #[arg(
        long = "ai-key-file",
        global = true,
        value_name = "FILE",
        env = KEY_FILE,
        hide_env_values = true,
        display_order = 111
    )]
    key_file: Option<PathBuf>,
    /// Show exactly what would be sent, and send nothing
    #[arg(long = "ai-preview", global = true, display_order = 112)]
    preview: bool,
    /// Tell the model real names and addresses instead of pseudonyms
    #[arg(long = "ai-raw", global = true, display_order = 113)]
    raw: bool,
}

/// What is known about models.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// None: off.
    pub(super) endpoint: Option<Endpoint>,
    pub(crate) mode: Mode,
    /// Real names are told.
    pub(super) raw: bool,
    pub(super) audit: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    #[default]
    Ask,
    /// What would be sent is shown instead.
    Preview,
}

/// Where a model is asked.
#[derive(Clone)]
pub(super) struct Endpoint {
    /// Without a slash at the end.
    pub(super) base: String,
    pub(super) key: String,
    pub(super) model: String,
}

/// Keys are never shown.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("base", &self.base)
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Reads the environment, or what stands in for it, and the key file.
    ///
    /// # Errors
    /// When a key file is named and cannot be read.
    pub(crate) fn read(
        flags: &AiFlags,
        variable: impl Fn(&str) -> Option<String>,
        state: Option<PathBuf>,
    ) -> Result<Self, String> {
        let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let key_file = flags.key_file.clone().or_else(|| set(KEY_FILE).map(PathBuf::from));
        let key = match &key_file {
            // A key of the environment wins over a file that only the settings name.
            Some(_) if flags.key_file.is_none() && set("OPENAI_API_KEY").is_some() => set("OPENAI_API_KEY"),
            Some(file) => {
                let text = fs::read_to_string(file)
                    .map_err(|error| format!("cannot read the key in {}: {error}", file.display()))?;
                Some(text.trim().to_owned())
            }
            None => set("OPENAI_API_KEY"),
        };
        let base = set("OPENAI_BASE_URL");
        let is_configured = key.is_some() || base.is_some() || flags.preview;
        let endpoint = is_configured.then(|| Endpoint {
            base: base.as_deref().unwrap_or(DEFAULT_BASE).trim_end_matches('/').to_owned(),
            key: key.unwrap_or_default(),
            model: flags.model.clone().or_else(|| set(MODEL)).unwrap_or_else(|| DEFAULT_MODEL.to_owned()),
        });
        Ok(Self {
            endpoint,
            mode: if flags.preview { Mode::Preview } else { Mode::Ask },
            raw: flags.raw,
            audit: state.map(|directory| directory.join("ai-audit.jsonl")),
        })
    }

    /// Where data goes; none while it is off.
    pub(crate) fn destination(&self) -> Option<&str> {
        self.endpoint.as_ref().map(|endpoint| endpoint.base.as_str())
    }

    /// The model that is asked; none while it is off.
    pub(crate) fn model(&self) -> Option<&str> {
        self.endpoint.as_ref().map(|endpoint| endpoint.model.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(flags: &AiFlags, variables: &[(&str, &str)]) -> Settings {
        let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Settings::read(flags, variable, None).unwrap()
    }

    #[test]
    fn it_is_off_until_it_is_configured() {
        assert!(read(&AiFlags::default(), &[("OPENAI_API_KEY", " ")]).endpoint.is_none());
        let keyed = read(&AiFlags::default(), &[("OPENAI_API_KEY", "sk")]);
        assert_eq!((keyed.destination(), keyed.model()), (Some(DEFAULT_BASE), Some(DEFAULT_MODEL)));
        let own = read(&AiFlags::default(), &[("OPENAI_BASE_URL", "http://127.0.0.1:11434/v1/")]);
        assert_eq!(own.destination(), Some("http://127.0.0.1:11434/v1"));
        assert!(!format!("{keyed:?}").contains("sk\""), "{keyed:?}");
    }

    #[test]
    fn a_missing_key_file_is_named() {
        let flags = AiFlags { key_file: Some("/nowhere/key".into()), ..AiFlags::default() };
        let error = Settings::read(&flags, |_| None, None).unwrap_err();
        assert!(error.contains("/nowhere/key"), "{error}");
    }
}
