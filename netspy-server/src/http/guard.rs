//! Who may ask, for how long, and what a browser may do with the answer.
//!
//! The API has no password on loopback, so a page in the user's browser must not be able to read it. Such a
//! page sends its own `Origin`, or, by DNS rebinding, its own name as `Host`; both are refused here. Nothing
//! permits other origins (CORS), so that a browser keeps what it gets from other pages, too.

use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;
use tower::ServiceExt as _;

use super::error::Failure;
use super::slashes::collapsed;

/// Names of this machine for itself.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// From the last byte of the head to the first of the answer, the reading of the body included.
const LONGEST: Duration = Duration::from_secs(30);

/// What `routes` answer, to those who may ask.
pub(super) async fn guarded(routes: Router, mut request: Request, allowed: &[String]) -> Response {
    let mut response = match check_addressee(&request, allowed) {
        Ok(()) => {
            if let Some(uri) = collapsed(request.uri()) {
                *request.uri_mut() = uri;
            }
            let Ok(response) =
                timeout(LONGEST, routes.oneshot(request)).await.unwrap_or_else(|_| Ok(too_late()));
            response
        }
        Err(refusal) => refusal.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn check_addressee(request: &Request, allowed: &[String]) -> Result<(), Failure> {
    if !is_addressed_to(request.uri(), request.headers(), allowed) {
        return Err(Failure::new(
            StatusCode::FORBIDDEN,
            "the Host header is none of this server's names; ask for it as localhost, 127.0.0.1 or [::1], \
             or start the server with --allow-host NAME",
        ));
    }
    if !is_from_here(request.headers(), allowed) {
        return Err(Failure::new(
            StatusCode::FORBIDDEN,
            "web pages from elsewhere may not read this; ask without an Origin header",
        ));
    }
    Ok(())
}

fn too_late() -> Response {
    let message = format!("no answer within {} seconds; ask for a shorter window", LONGEST.as_secs());
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, message).into_response()
}

/// HTTP/1.0 knows no `Host`; where it is given, and in an absolute URI, every one must be ours.
fn is_addressed_to(uri: &Uri, headers: &HeaderMap, allowed: &[String]) -> bool {
    uri.authority().is_none_or(|authority| is_ours(authority.as_str(), allowed))
        && headers
            .get_all(header::HOST)
            .iter()
            .all(|host| host.to_str().is_ok_and(|host| is_ours(host, allowed)))
}

/// An origin is `scheme://host[:port]`, or `null` from a page that has none to show.
fn is_from_here(headers: &HeaderMap, allowed: &[String]) -> bool {
    headers.get_all(header::ORIGIN).iter().all(|origin| {
        let origin = origin.to_str().unwrap_or_default();
        origin.split_once("://").is_some_and(|(_, authority)| is_ours(authority, allowed))
    })
}

/// Whether `host[:port]` is one of the names, whatever the port.
fn is_ours(authority: &str, allowed: &[String]) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(bracketed) => match bracketed.split_once(']') {
            Some((host, "")) => host,
            Some((host, rest)) if is_port(rest) => host,
            _ => return false,
        },
        None => match authority.find(':') {
            Some(colon) if is_port(&authority[colon..]) => &authority[..colon],
            Some(_) => return false,
            None => authority,
        },
    };
    let allowed = allowed.iter().map(String::as_str);
    LOOPBACK.into_iter().chain(allowed).any(|name| name.eq_ignore_ascii_case(host))
}

/// `:` and digits. Anything else, such as `:x@evil.example`, is no port.
fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::is_ours;

    #[test]
    fn loopback_and_the_allowed_names_are_ours_at_any_port() {
        let allowed = ["monitor.lan".to_owned(), "fd00::5".to_owned()];
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:8080",
            "monitor.lan",
            "Monitor.LAN:80",
            "[fd00::5]:9",
        ] {
            assert!(is_ours(host, &allowed), "{host}");
        }
        for host in [
            "",
            ":80",
            "evil.example",
            "localhost.evil.example",
            "localhost:80@evil.example",
            "127.0.0.1.evil.example:80",
            "[::1",
            "[::1]x",
            "::1",
            "[::2]:80",
            "0.0.0.0:80",
        ] {
            assert!(!is_ours(host, &allowed), "{host}");
        }
    }
}
