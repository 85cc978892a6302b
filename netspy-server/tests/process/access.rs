//! Who gets in: over TCP with and without tokens, over a UNIX socket.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    process::Command,
};

use netspy_api::{Client, ClientError};
use rustix::process::Signal;

use crate::server::{Installed, NOBODY, Running};

/// Status and body of one request with this `Authorization`.
fn ask(server: &Running, authorization: Option<&str>, host: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(server.address().replace("0.0.0.0", "127.0.0.1")).unwrap();
    let authorization = authorization.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
    let head = format!("GET /health HTTP/1.1\r\nHost: {host}\r\n{authorization}Connection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

fn make_token(installed: &Installed, words: &[&str]) -> String {
    let output = installed.command(&[&["token", "--file", "tokens"], words].concat()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn with_a_file_of_tokens_every_request_over_tcp_needs_one() {
    let installed = Installed::new();
    let token = make_token(&installed, &["ci", "--expires", "1d"]);
    let server = installed.replay(&["--token-file", "tokens"]);
    let (status, answer) = ask(&server, None, "localhost");
    assert_eq!(status, 401);
    assert!(
        answer.contains("www-authenticate: Bearer") && answer.contains("www-authenticate: Basic"),
        "{answer}"
    );
    assert!(answer.contains("Authorization: Bearer TOKEN"), "{answer}");
    assert_eq!(ask(&server, Some("Bearer netspy_00"), "localhost").0, 401);
    assert_eq!(ask(&server, Some(&format!("Bearer {token}")), "localhost").0, 200);
    assert_eq!(
        ask(&server, Some(&format!("Bearer {token}")), "evil.example").0,
        403,
        "a name that is not ours"
    );

    let with_password = server.url.replace("http://", &format!("http://anybody:{token}@"));
    assert_eq!(Client::new(&with_password).unwrap().health().await.unwrap().status, "healthy");
    let client = Client::new(&server.url).unwrap();
    let denied = client.health().await.unwrap_err();
    assert!(matches!(denied, ClientError::Denied { code: 401, .. }), "{denied}");
    assert!(client.with_token(&token).unwrap().health().await.is_ok());

    // A token whose line is gone is refused after SIGHUP; a broken file changes nothing.
    fs::write(installed.path("tokens"), "nonsense").unwrap();
    server.signal(Signal::HUP);
    server.said("the tokens stay as they were: line 1 of tokens");
    assert_eq!(ask(&server, Some(&format!("Bearer {token}")), "localhost").0, 200);
    fs::write(installed.path("tokens"), "").unwrap();
    server.signal(Signal::HUP);
    while ask(&server, Some(&format!("Bearer {token}")), "localhost").0 != 401 {}
    assert_eq!(server.stop(Signal::TERM), Some(0));
}

#[test]
fn other_addresses_are_served_with_tokens_and_to_known_names() {
    let installed = Installed::new();
    let token = make_token(&installed, &["ci"]);
    let command =
        ["--listen", "0.0.0.0:0", "--replay", "demo.netspy", "--token-file", "tokens", "--allow-host"];
    let server = Running::start(&mut installed.command(&[&command[..], &["monitor.lan"]].concat()));
    let bearer = format!("Bearer {token}");
    assert_eq!(ask(&server, Some(&bearer), "monitor.lan:8080").0, 200);
    let (status, answer) = ask(&server, Some(&bearer), "other.lan");
    assert_eq!(status, 403);
    assert!(answer.contains("--allow-host"), "{answer}");
    assert_eq!(ask(&server, None, "monitor.lan").0, 401);
    assert_eq!(server.stop(Signal::TERM), Some(0));
    let text = installed.fails(&["--listen", "0.0.0.0:0", "--replay", "demo.netspy"]);
    assert!(text.contains("netspy-server token NAME") && text.contains("--token-file"), "{text}");
    let text = installed.fails(&["--token-file", "missing", "--replay", "demo.netspy"]);
    assert!(text.contains("missing") && text.contains("netspy-server token NAME"), "{text}");
}

/// The file's group is root's, as there is no group netspy on every machine that runs this.
#[test]
fn a_unix_socket_is_for_its_owner_and_its_group() {
    let installed = Installed::new();
    let socket = installed.path("netspy.sock");
    let words = ["--listen", "off", "--replay", "demo.netspy", "--socket", socket.to_str().unwrap()];
    let server = Running::start(&mut installed.command(&words));
    let group = fs::metadata(&socket).unwrap().gid();
    // Its exit code, and what it got. 7: it could not connect.
    let ask = |user: u32, group: u32| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--unix-socket"]).arg(&socket).arg("http://localhost/livez");
        let output = curl.uid(user).gid(group).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(ask(NOBODY, NOBODY), (Some(7), String::new()));
    let (code, answer) = ask(NOBODY, group);
    assert!(code == Some(0) && answer.contains("alive"), "{code:?} {answer}");
    assert_eq!(server.stop(Signal::TERM), Some(0));
}

#[tokio::test]
async fn a_unix_socket_needs_no_token_and_goes_with_the_server() {
    let installed = Installed::new();
    make_token(&installed, &["ci"]);
    let path = installed.path("run/netspy.sock");
    let socket = path.to_str().unwrap();
    let words = ["--listen", "off", "--replay", "demo.netspy", "--socket", socket, "--token-file", "tokens"];
    let server = Running::start(&mut installed.command(&words));
    assert_eq!(server.url, format!("unix:{socket}"));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let client = Client::new(&server.url).unwrap();
    assert_eq!(client.health().await.unwrap().status, "healthy");
    assert_eq!(client.address(), server.url);
    let text = installed.fails(&words);
    assert!(text.contains("another server's") && text.contains("--socket off"), "{text}");
    assert_eq!(server.stop(Signal::TERM), Some(0));
    assert!(!path.exists());
    let gone = client.health().await.unwrap_err();
    assert!(matches!(gone, ClientError::Unreachable { .. }), "{gone}");
}
