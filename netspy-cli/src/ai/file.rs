//! The model in a file, `netspy/client.toml` below the directory of settings: by the names of what the environment may
//! say, which wins. No key is kept there, only where one is.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::Deserialize;

/// What the file is called.
const NAME: &str = "client.toml";

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct File {
    ai: Ai,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Ai {
    base_url: Option<String>,
    model: Option<String>,
    key_file: Option<String>,
}

impl File {
    /// Reads the file of this directory, where there is one.
    ///
    /// # Errors
    /// When it cannot be read, or says what nobody understands.
    pub(crate) fn read(directory: Option<&Path>) -> Result<Self, String> {
        let Some(path) = directory.map(|directory| directory.join(NAME)) else { return Ok(Self::default()) };
        let shown = path.display();
        match fs::read_to_string(&path) {
            // Only what is wrong: a line of it may hold a key that should not be there.
            Ok(text) => toml::from_str(&text).map_err(|error| format!("{shown}: {}", error.message())),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Ok(Self::default())
            }
            Err(error) => Err(format!("cannot read {shown}: {error}")),
        }
    }

    /// What it says under the name of a variable.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        match name {
            "OPENAI_BASE_URL" => self.ai.base_url.clone(),
            super::settings::MODEL => self.ai.model.clone(),
            super::settings::KEY_FILE => self.ai.key_file.clone(),
            _ => None,
        }
    }
}
