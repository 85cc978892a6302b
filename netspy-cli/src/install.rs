//! `netspy install`: enters netspy as an MCP server into the settings of an AI client. Shows the difference, keeps a
//! backup, changes nothing else, and gives up where it does not understand the file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use jiff::Zoned;
use serde_json::{Map, Value, json};
use similar::TextDiff;

use crate::output::{self, Exit};
use crate::render::escape;

/// Clients whose settings are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Agent {
    ClaudeDesktop,
    ClaudeCode,
    #[value(name = "vscode")]
    VsCode,
    Cursor,
}

#[derive(Args, Debug)]
pub(crate) struct InstallFlags {
    /// The client
    client: Agent,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Where a client keeps its servers on Linux.
struct Place {
    /// Below the configuration directory, or below the home if it is hidden there.
    file: PathBuf,
    /// The member of the file that holds the servers.
    member: &'static str,
    /// Whether an entry says how it is spoken to.
    typed: bool,
}

impl Agent {
    fn place(self, home: &Path, config: &Path) -> Place {
        let (file, member, typed) = match self {
            Agent::ClaudeDesktop => (config.join("Claude/claude_desktop_config.json"), "mcpServers", false),
            Agent::ClaudeCode => (home.join(".claude.json"), "mcpServers", true),
            Agent::VsCode => (config.join("Code/User/mcp.json"), "servers", true),
            Agent::Cursor => (home.join(".cursor/mcp.json"), "mcpServers", false),
        };
        Place { file, member, typed }
    }
}

/// Does it; `server` is the address of netspy-server where it is not the usual one.
pub(crate) fn run(flags: &InstallFlags, server: Option<&str>) -> io::Result<Exit> {
    match install(flags, server) {
        Ok(said) => output::data(&said).map(|()| Exit::Success),
        Err(reason) => {
            output::words(&format!("Error: {reason}"));
            Ok(Exit::Failed)
        }
    }
}

fn install(flags: &InstallFlags, server: Option<&str>) -> Result<String, String> {
    let directory = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = directory("HOME").ok_or("there is no home directory: set HOME")?;
    let config = directory("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
    let place = flags.client.place(&home, &config);
    let program = std::env::current_exe().map_err(|error| format!("cannot find netspy itself: {error}"))?;
    let entry = entry(&program, server, place.typed);
    // A link is followed: the file behind it is the one that is kept in order.
    let file = place.file.canonicalize().unwrap_or(place.file);
    let shown = escape::text(&file.to_string_lossy()).into_owned();
    let before = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(format!("cannot read {shown}: {error}")),
    };
    let after = with(&before, place.member, &entry).map_err(|reason| {
        format!("{shown} {reason}; add this to \"{}\" yourself:\n\"netspy\": {entry}", place.member)
    })?;
    if after == before {
        return Ok(format!("{shown} has netspy already"));
    }
    let difference = difference(&before, &after, &shown);
    if flags.dry_run {
        return Ok(format!("{difference}\nNothing was changed."));
    }
    let kept = write(&file, &before, &after).map_err(|error| format!("cannot write {shown}: {error}"))?;
    let kept = kept.map_or(String::new(), |kept| {
        format!(" What it was before: {}.", escape::text(&kept.to_string_lossy()))
    });
    Ok(format!("{difference}\n{shown} is written.{kept} Restart the client."))
}

fn entry(program: &Path, server: Option<&str>, typed: bool) -> Value {
    let mut arguments = vec!["mcp".to_owned()];
    if let Some(server) = server {
        arguments.extend(["--server".to_owned(), server.to_owned()]);
    }
    let mut entry = Map::new();
    if typed {
        entry.insert("type".to_owned(), json!("stdio"));
    }
    entry.insert("command".to_owned(), json!(program.to_string_lossy()));
    entry.insert("args".to_owned(), json!(arguments));
    Value::Object(entry)
}

/// The settings with the entry; everything else stays, in its order.
fn with(settings: &str, member: &str, entry: &Value) -> Result<String, &'static str> {
    let parsed = if settings.trim().is_empty() { Ok(json!({})) } else { serde_json::from_str(settings) };
    let mut parsed: Value = parsed.map_err(|_| "is not plain JSON (has it comments?)")?;
    let Value::Object(map) = &mut parsed else { return Err("holds no JSON object") };
    let Value::Object(servers) = map.entry(member).or_insert_with(|| json!({})) else {
        return Err("has something else where the servers should be");
    };
    if servers.get("netspy") == Some(entry) {
        return Ok(settings.to_owned());
    }
    servers.insert("netspy".to_owned(), entry.clone());
    let text = serde_json::to_string_pretty(&parsed).map_err(|_| "cannot be written as JSON")?;
    Ok(text + "\n")
}

fn difference(before: &str, after: &str, file: &str) -> String {
    let difference = TextDiff::from_lines(before, after);
    let text = difference.unified_diff().context_radius(2).header(file, file).to_string();
    text.lines().map(escape::text).collect::<Vec<_>>().join("\n")
}

/// Writes beside the file and renames, so that a client never reads half of it; the backup's path.
fn write(file: &Path, before: &str, after: &str) -> io::Result<Option<PathBuf>> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory)?;
    }
    let beside = |suffix: &str| {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let kept = if before.is_empty() {
        None
    } else {
        let kept = beside(&Zoned::now().strftime(".%Y%m%d-%H%M%S.backup").to_string());
        fs::copy(file, &kept)?;
        Some(kept)
    };
    let new = beside(".netspy-new");
    fs::write(&new, after)?;
    if kept.is_some() {
        fs::set_permissions(&new, fs::metadata(file)?.permissions())?;
    }
    fs::rename(&new, file)?;
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_else_stays_in_its_order() {
        let before = r#"{"z": 1, "mcpServers": {"other": {"command": "x"}}, "a": [true]}"#;
        let after = with(before, "mcpServers", &json!({"command": "netspy"})).unwrap();
        let value: Value = serde_json::from_str(&after).unwrap();
        assert_eq!(value.as_object().unwrap().keys().collect::<Vec<_>>(), ["z", "mcpServers", "a"]);
        assert_eq!(value["mcpServers"]["other"]["command"], "x");
        assert_eq!(with(&after, "mcpServers", &json!({"command": "netspy"})), Ok(after));
    }

    #[test]
    fn what_is_not_understood_is_not_touched() {
        for text in ["// comment\n{}", "[]", r#"{"mcpServers": []}"#] {
            assert!(with(text, "mcpServers", &json!({})).is_err(), "{text}");
        }
    }
}
