//! Where netspy keeps what it writes for its user, and finds the user's settings: as the XDG specification says.

use std::path::PathBuf;

/// Directory of what should outlive a session but is no setting; none where there is no home. A relative
/// `$XDG_STATE_HOME` is to be ignored.
pub(crate) fn state() -> Option<PathBuf> {
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    Some(state?.join("netspy"))
}

/// Directory of settings; none where there is no home.
pub(crate) fn config() -> Option<PathBuf> {
    let config = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
    Some(config?.join("netspy"))
}

fn absolute(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}
