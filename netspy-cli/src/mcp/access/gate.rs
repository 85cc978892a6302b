//! The gate before the MCP endpoint: who is let in, how often, and what the others are told (RFC 6750).

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use jiff::Timestamp;
use serde_json::json;

use super::audit::Audit;
use super::caller::{Caller, SCOPES};
use super::jwt::Issuer;
use super::token::{PREFIX, Tokens};

/// Callers and addresses remembered before the quiet ones are forgotten.
const MANY_KEYS: usize = 1_000;

/// Who is let in.
#[derive(Clone)]
pub(in crate::mcp) struct Gate {
    /// None lets everybody in who reaches the address.
    pub(in crate::mcp) tokens: Option<Arc<Tokens>>,
    /// Who else's tokens are good.
    pub(in crate::mcp) issuer: Option<Arc<Issuer>>,
    pub(in crate::mcp) audit: Option<Arc<Audit>>,
    rate: Arc<RateLimiter<Key, HashMapStateStore<Key>, DefaultClock>>,
}

/// Whose requests are counted together. Somebody without a good token must not use up another's share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Caller(String),
    Address(IpAddr),
}

impl Gate {
    /// At most `rate` requests a minute of each caller.
    pub(in crate::mcp) fn new(rate: NonZeroU32) -> Self {
        let rate = Arc::new(RateLimiter::hashmap(Quota::per_minute(rate)));
        Self { tokens: None, issuer: None, audit: None, rate }
    }

    async fn caller(&self, header: Option<&str>) -> Result<Caller, Refusal> {
        if self.tokens.is_none() && self.issuer.is_none() {
            return Ok(Caller::local());
        }
        let token = header.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let token = token.ok_or(Refusal::NoToken)?;
        let caller = match (&self.tokens, &self.issuer) {
            (_, Some(issuer)) if !token.starts_with(PREFIX) => issuer.caller(token).await,
            (Some(tokens), _) => tokens.caller(token, Timestamp::now()),
            (None, _) => Err("the token is not known"),
        };
        let caller = caller.map_err(Refusal::BadToken)?;
        if caller.may_anything() { Ok(caller) } else { Err(Refusal::NoScope) }
    }

    fn count(&self, key: &Key) -> Result<(), Refusal> {
        if self.rate.len() > MANY_KEYS {
            self.rate.retain_recent();
        }
        self.rate.check_key(key).map_err(|until| {
            Refusal::TooMany(until.wait_time_from(DefaultClock::default().now()).as_secs() + 1)
        })
    }
}

/// Why somebody is not let in.
enum Refusal {
    NoToken,
    BadToken(&'static str),
    NoScope,
    /// Seconds to wait.
    TooMany(u64),
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Refusal::NoToken | Refusal::BadToken(_) => StatusCode::UNAUTHORIZED,
            Refusal::NoScope => StatusCode::FORBIDDEN,
            Refusal::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    fn message(&self) -> &'static str {
        match self {
            Refusal::NoToken => "a bearer token is needed",
            Refusal::BadToken(reason) => reason,
            Refusal::NoScope => "the token allows nothing here",
            Refusal::TooMany(_) => "too many requests",
        }
    }

    /// RFC 6750, section 3: no error code where no token was given.
    fn challenge(&self, issuer: Option<&Issuer>) -> Option<String> {
        let scopes = SCOPES.map(|(scope, _)| scope).join(" ");
        let error = match self {
            Refusal::NoToken => String::new(),
            Refusal::BadToken(reason) => format!(", error=\"invalid_token\", error_description=\"{reason}\""),
            Refusal::NoScope => ", error=\"insufficient_scope\"".to_owned(),
            Refusal::TooMany(_) => return None,
        };
        let metadata = issuer.map(|issuer| format!(", resource_metadata=\"{}\"", issuer.metadata_address()));
        Some(format!("Bearer realm=\"netspy\", scope=\"{scopes}\"{}{error}", metadata.unwrap_or_default()))
    }

    fn response(&self, issuer: Option<&Issuer>) -> Response {
        let body = json!({"error": self.status().canonical_reason(), "message": self.message()});
        let mut response = (self.status(), axum::Json(body)).into_response();
        let headers = response.headers_mut();
        if let Some(challenge) = self.challenge(issuer).and_then(|text| HeaderValue::try_from(text).ok()) {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Refusal::TooMany(seconds) = self {
            headers.insert(RETRY_AFTER, (*seconds).into());
        }
        response
    }
}

/// Lets a request through with its caller, or says why not.
pub(in crate::mcp) async fn pass(
    State(gate): State<Gate>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let address = Key::Address(peer.ip());
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let admitted = gate.caller(header).await.and_then(|caller| {
        let key = if caller.name.is_empty() { address.clone() } else { Key::Caller(caller.name.clone()) };
        gate.count(&key).map(|()| caller)
    });
    // A guess costs its address a request.
    let admitted = admitted.map_err(|refusal| match refusal {
        Refusal::NoToken | Refusal::BadToken(_) => gate.count(&address).err().unwrap_or(refusal),
        other => other,
    });
    match admitted {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refusal) => {
            if let Some(audit) = &gate.audit {
                audit.refused(&peer.ip().to_string(), refusal.status().as_u16(), refusal.message());
            }
            refusal.response(gate.issuer.as_deref())
        }
    }
}
