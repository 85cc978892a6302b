//! Which of four says what holds. The environment is a process's own: its place is tested in `tests/settings.rs`.

use super::*;
use crate::domain::Keep;

fn words(words: &[&str]) -> Vec<OsString> {
    std::iter::once("netspy-server").chain(words.iter().copied()).map(OsString::from).collect()
}

fn said(flags: &[&str]) -> Said {
    read(words(flags)).unwrap()
}

fn refused(flags: &[&str]) -> String {
    read(words(flags)).unwrap_err().to_string()
}

fn with_file(text: &str, flags: &[&str]) -> Result<Said, ConfigError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    read(words(&[&["--config", file.path().to_str().unwrap()], flags].concat()))
}

fn wrong_file(text: &str) -> String {
    with_file(text, &[]).unwrap_err().to_string()
}

#[test]
fn without_a_word_the_defaults_hold() {
    let serving = said(&[]).flags.serving;
    assert_eq!(serving.settings.listen, Listen::on_loopback(8080));
    assert_eq!(serving.settings.socket, Socket::At("/run/netspy/netspy.sock".into()));
    assert_eq!(serving.settings.keep(), Keep::default());
    assert!(serving.made.is_empty() && serving.settings.allow_host.is_empty());
}

#[test]
fn the_earlier_servers_flags_are_known() {
    let listens = |flags: &[&str]| said(flags).flags.serving.settings.listen;
    assert_eq!(listens(&["--http", "--port", "9"]), Listen::on_loopback(9));
    assert_eq!(listens(&["-http", "-addr", ":81"]), Listen::on_loopback(81));
    assert_eq!(listens(&["-addr=:82"]), Listen::on_loopback(82));
    assert!(refused(&["--port", "80", "--listen", "127.0.0.1:80"]).contains("--listen has a port"));
    assert!(refused(&["--port", "70000"]).contains("70000"));
}

#[test]
fn a_flag_counts_more_than_the_file_and_the_file_more_than_the_default() {
    let file =
        "keep-for = \"30d\"\nlisten = \"127.0.0.1:9\"\nmax-sockets = 7\nallow-host = [\"a\", \"b.lan\"]\n";
    let said = with_file(file, &["--keep-for", "1h", "--port", "10"]).unwrap();
    let settings = &said.flags.serving.settings;
    assert_eq!(settings.keep_for.as_secs(), 3_600);
    assert_eq!(settings.listen, Listen::on_loopback(10));
    assert_eq!((settings.max_sockets, settings.keep_size), (7, Keep::default().bytes));
    assert_eq!(settings.allow_host, ["a", "b.lan"]);
    let of = |name: &str| said.settings.iter().find(|setting| setting.name == name).unwrap();
    assert_eq!((of("keep-for").value.as_deref(), &of("keep-for").origin), (Some("1h"), &Origin::Flag));
    assert_eq!(of("listen").value.as_deref(), Some("127.0.0.1:10"));
    assert!(matches!(&of("max-sockets").origin, Origin::File(_)));
    assert_eq!(of("allow-host").value.as_deref(), Some("a,b.lan"));
    assert_eq!((of("token-file").value.as_deref(), &of("token-file").origin), (None, &Origin::Default));
    assert!(said.flags.serving.is_made("max-sockets") && !said.flags.serving.is_made("db"));
}

#[test]
fn what_is_wrong_in_the_file_is_named_with_what_to_do() {
    let text = wrong_file("keep_for = \"30d\"");
    assert!(text.contains("no setting 'keep_for'") && text.contains("keep-for, keep-size"), "{text}");
    let text = wrong_file("keep-for = \"30\"");
    assert!(text.contains("keep-for: ") && text.contains("12h or 7d") && !text.contains('\n'), "{text}");
    let text = wrong_file("hooks = \"none\"");
    assert!(text.contains("possible values: auto"), "{text}");
    assert!(wrong_file("max-sockets = true").contains("string in quotes"));
    assert!(wrong_file("listen = [1]").contains("list of strings"));
    assert!(wrong_file("port = 80").contains("no setting 'port'"));
    assert!(wrong_file("keep-for: 30d").contains("is not TOML"));
    let text = refused(&["--config", "/does/not/exist"]);
    assert!(text.contains("/does/not/exist") && text.contains("--config"), "{text}");
}

#[test]
fn a_recording_cannot_be_told_to_leave_arguments_out() {
    assert!(refused(&["--cmdline", "redacted", "--record", "x"]).contains("--cmdline full"));
    assert!(refused(&["--cmdline", "redacted", "--replay", "x"]).contains("--cmdline"));
    assert!(refused(&["--cmdline", "some"]).contains("redacted"));
    assert!(refused(&["--record", "x", "--replay", "x"]).contains("cannot be used with"));
    let recorded = with_file("cmdline = \"off\"", &["--record", "x"]);
    assert!(recorded.unwrap_err().to_string().contains("--cmdline full"));
}

#[test]
fn a_replay_leaves_the_machines_history_and_socket_alone() {
    let file = "db = \"/srv/netspy.db\"\nsocket = \"/run/x.sock\"\ncmdline = \"off\"\n";
    let serving = with_file(file, &["--replay", "x"]).unwrap().flags.serving;
    assert!(!serving.is_made("db") && serving.settings.socket == Socket::Off);
    let serving = with_file(file, &["--replay", "x", "--db", "y"]).unwrap().flags.serving;
    assert!(serving.is_made("db") && serving.settings.db.as_os_str() == "y");
}

#[test]
fn the_settings_are_shown_with_their_origin() {
    let said = with_file("keep-for = \"30d\"", &[]).unwrap();
    let text = show(&said.settings, crate::cli::Output::Text).unwrap();
    assert!(text.contains("keep-for     30d                          file /"), "{text}");
    assert!(text.contains("token-file   -                            default\n"), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&show(&said.settings, crate::cli::Output::Json).unwrap()).unwrap();
    assert_eq!(json["settings"][0]["name"], "listen");
    assert_eq!(json["settings"][0]["origin"]["from"], "default");
}
