//! The gate before the API: whose token is good, and how many are answered at a time.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::Response,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use hyper::body::{Frame, SizeHint};
use jiff::Timestamp;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::token::Tokens;
use crate::http::{Api, refusal};

/// A request waits this long for its turn.
const WAIT: Duration = Duration::from_secs(10);

/// What a door leads to.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) api: Api,
    pub(super) turns: Arc<Semaphore>,
    /// Whose tokens are asked for; `None` for nobody's.
    pub(super) tokens: Option<Arc<Tokens>>,
}

impl Gate {
    /// The answer to a request, be it a refusal.
    pub(super) async fn answer(self, request: Request) -> Response {
        if let Some(tokens) = &self.tokens
            && let Err(reason) = check_token(tokens, &request)
        {
            let mut response = refusal(StatusCode::UNAUTHORIZED, reason);
            for scheme in [r#"Bearer realm="netspy""#, r#"Basic realm="netspy""#] {
                response.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
            }
            return response;
        }
        in_turn(self.turns, self.api.answer(request)).await
    }
}

/// Why the request's token is not good, if it is not.
fn check_token(tokens: &Tokens, request: &Request) -> Result<(), String> {
    let token = token(request.headers())
        .ok_or("a token is needed; send it as `Authorization: Bearer TOKEN`, or as the password of Basic")?;
    let owner = tokens
        .owner(&token, Timestamp::now())
        .map_err(|unknown| format!("{unknown}; make another with: netspy-server token NAME --file FILE"))?;
    tracing::debug!(%owner, method = %request.method(), path = request.uri().path(), "asked");
    Ok(())
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
async fn in_turn(turns: Arc<Semaphore>, answer: impl Future<Output = Response>) -> Response {
    let Ok(Ok(turn)) = timeout(WAIT, turns.acquire_owned()).await else {
        let reason = "too many requests are being answered; ask again in a few seconds";
        let mut response = refusal(StatusCode::SERVICE_UNAVAILABLE, reason);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
        return response;
    };
    answer.await.map(|body| Body::new(InTurn { body, _turn: turn }))
}

/// The body of an answer, and the turn that it is.
struct InTurn {
    body: Body,
    _turn: OwnedSemaphorePermit,
}

impl HttpBody for InTurn {
    type Data = <Body as HttpBody>::Data;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    /// As long as it was: a length that is known is sent in the head.
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::to_bytes, response::IntoResponse};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_a_turn_until_its_last_byte_and_who_waits_too_long_is_told_when_to_come_again() {
        let turns = Arc::new(Semaphore::new(1));
        let ask = || in_turn(turns.clone(), async { "an answer".into_response() });
        let first = ask().await;
        assert_eq!(first.status(), StatusCode::OK);
        let second = ask().await;
        assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(second.headers()[RETRY_AFTER], "5");
        assert_eq!(to_bytes(first.into_body(), 100).await.unwrap(), "an answer");
        assert_eq!(ask().await.status(), StatusCode::OK);
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
