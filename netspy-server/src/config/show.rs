//! Settings as an answer.

use serde::Serialize;

use super::Setting;
use crate::cli::Output;

#[derive(Serialize)]
struct Report<'a> {
    settings: &'a [Setting],
}

/// One line for each, or one JSON object.
pub fn show(settings: &[Setting], output: Output) -> Result<String, serde_json::Error> {
    match output {
        Output::Json => serde_json::to_string(&Report { settings }).map(|line| line + "\n"),
        Output::Text => Ok(settings.iter().map(line).collect()),
    }
}

fn line(setting: &Setting) -> String {
    let value = setting.value.as_deref().unwrap_or("-");
    format!("{:<12} {value:<28} {}\n", setting.name, setting.origin)
}
