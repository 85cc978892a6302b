//! The gate before the API: whose token is good, and how many are answered at a time.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    middleware::Next,
    response::Response,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use http_body_util::BodyExt;
use jiff::Timestamp;
use tokio::{sync::Semaphore, time::timeout};

use super::token::Tokens;
use crate::http::refusal;

/// A request waits this long for its turn.
const WAIT: Duration = Duration::from_secs(10);

/// Lets a request through if its token is good.
pub(super) async fn check_token(State(tokens): State<Arc<Tokens>>, request: Request, next: Next) -> Response {
    let reason = match token(request.headers()) {
        None => "a token is needed; send it as `Authorization: Bearer TOKEN`, or as the password of Basic"
            .to_owned(),
        Some(token) => match tokens.owner(&token, Timestamp::now()) {
            Ok(owner) => {
                tracing::debug!(%owner, method = %request.method(), path = request.uri().path(), "asked");
                return next.run(request).await;
            }
            Err(unknown) => format!("{unknown}; make another with: netspy-server token NAME --file FILE"),
        },
    };
    let mut response = refusal(StatusCode::UNAUTHORIZED, reason);
    for scheme in [r#"Bearer realm="netspy""#, r#"Basic realm="netspy""#] {
        response.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
    }
    response
}

/// `Bearer TOKEN`, or the password of `Basic`, whoever the user is: the earlier client can send only that.
fn token(headers: &HeaderMap) -> Option<String> {
    let (scheme, rest) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(rest).ok()?).ok()?;
    decoded.split_once(':').map(|(_, password)| password.to_owned())
}

/// Answers so many at a time: an answer counts until its last byte is sent, so that what slow readers leave in
/// memory is bounded.
pub(super) async fn take_turns(
    State(turns): State<Arc<Semaphore>>,
    request: Request,
    next: Next,
) -> Response {
    let Ok(Ok(turn)) = timeout(WAIT, turns.acquire_owned()).await else {
        let reason = "too many requests are being answered; ask again in a few seconds";
        let mut response = refusal(StatusCode::SERVICE_UNAVAILABLE, reason);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
        return response;
    };
    next.run(request).await.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _ = &turn;
            frame
        }))
    })
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::to_bytes, middleware::from_fn_with_state, routing::get};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_a_turn_until_its_last_byte_and_who_waits_too_long_is_told_when_to_come_again() {
        let turns = Arc::new(Semaphore::new(1));
        let routes = Router::new().route("/", get(async || "an answer"));
        let routes = routes.layer(from_fn_with_state(turns, take_turns));
        let ask = || routes.clone().oneshot(Request::new(Body::empty()));
        let first = ask().await.unwrap();
        assert_eq!(first.status(), StatusCode::OK);
        let second = ask().await.unwrap();
        assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(second.headers()[RETRY_AFTER], "5");
        assert_eq!(to_bytes(first.into_body(), 100).await.unwrap(), "an answer");
        assert_eq!(ask().await.unwrap().status(), StatusCode::OK);
    }

    #[test]
    fn a_token_comes_as_bearer_or_as_a_password() {
        let sent = |value: &str| {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(value).unwrap())]);
            token(&headers)
        };
        assert_eq!(sent("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(sent("bearer  abc ").as_deref(), Some("abc"));
        assert_eq!(sent("Basic bWU6YTpi").as_deref(), Some("a:b"));
        for wrong in ["abc", "Bearer", "Digest abc", "Basic ???", "Basic bWU="] {
            assert_eq!(sent(wrong), None, "{wrong}");
        }
        assert_eq!(token(&HeaderMap::new()), None);
    }
}
