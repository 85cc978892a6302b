//! The typed client: one method per question, one error enum that says what to do.
//!
//! It understands netspy-server and the earlier Go server alike: answers are read leniently, text errors are
//! errors too, and a list that may only be asked with GET is asked again that way. It keeps no state but the
//! connection pool. A password in the address is sent and never shown.

mod lenient;

use std::{error::Error as _, fmt, io, path::PathBuf, time::Duration};

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    ConnectionEvent, ConnectionSummary, DropEvent, DropSummary, ErrorBody, EventList, EventsByPid,
    EventsRequest, Health, ListRequest, Listeners, Programs, Readiness, SummaryRequest, TopList, TopRequest,
};

const TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A stream in which nothing happens has a sign of life every 15 seconds.
const LONGEST_SILENCE: Duration = Duration::from_secs(45);
/// Ten thousand events are about 8 MiB; anything near this bound is not an answer of ours.
const LONGEST_BODY: usize = 64 << 20;
/// Enough of a refusal to understand it; an HTML page of a proxy is not worth more.
const LONGEST_MESSAGE: usize = 300;

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address cannot be one of a server.
    #[error("bad server address {address}: {reason}")]
    BadUrl {
        /// The address, without its password.
        address: String,
        /// What is wrong and what to write instead.
        reason: String,
    },
    /// Nobody answered.
    #[error("netspy-server is not reachable at {url}: {reason}; start it with: sudo netspy-server")]
    Unreachable {
        /// The address, without its password.
        url: String,
        /// Why, as the system puts it.
        reason: String,
    },
    /// Whoever asks may not open the server's socket.
    #[error("{0} is for root and the group netspy: sudo adduser USER netspy, and log in again")]
    NotForThisUser(String),
    /// The server does not let this caller in.
    #[error(
        "netspy-server at {url} denied access ({code}): {message}; \
         give the token in NETSPY_TOKEN, or as the password of the address: http://netspy:TOKEN@HOST:PORT"
    )]
    Denied {
        /// The address, without its password.
        url: String,
        /// 401 or 403.
        code: u16,
        /// The server's words.
        message: String,
    },
    /// The server refused the question or failed at it.
    #[error("netspy-server answered {code}: {message}")]
    Status {
        /// The HTTP status.
        code: u16,
        /// The server's words.
        message: String,
    },
    /// What came back is not an answer.
    #[error("{url} did not answer like a netspy-server: {reason}; check the address")]
    Malformed {
        /// The address, without its password.
        url: String,
        /// What was found instead.
        reason: String,
    },
}

impl ClientError {
    /// Whether the server has no such endpoint, as the earlier ones lack some.
    pub fn is_unknown_path(&self) -> bool {
        matches!(self, Self::Status { code: 404 | 405, .. })
    }
}

/// A connection to one server.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    /// Where the server is asked instead of by TCP.
    socket: Option<PathBuf>,
    /// What messages call the server: without a password.
    address: String,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the server at `base_url`, such as `http://localhost:8080`, or `unix:/run/netspy/netspy.sock` for
    /// a socket of this machine. Nothing is sent yet.
    pub fn new(base_url: &str) -> Result<Self, ClientError> {
        Self::build(base_url, None)
    }

    /// The same client with this token in each request, instead of what the address says.
    pub fn with_token(&self, token: &str) -> Result<Self, ClientError> {
        let mut base = self.base.clone();
        let _ = base.set_password(None).and_then(|()| base.set_username(""));
        Self::build(if self.socket.is_some() { &self.address } else { base.as_str() }, Some(token))
    }

    fn build(base_url: &str, token: Option<&str>) -> Result<Self, ClientError> {
        let (base, socket) = parse_base(base_url)?;
        let bad = |reason: String| ClientError::BadUrl { address: without_password(base_url), reason };
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                .map_err(|_| bad("the token has characters that no token has".to_owned()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let mut builder = reqwest::Client::builder();
        // What is asked in clear needs no certificates, which a bare machine or container does not have.
        #[cfg(feature = "tls")]
        {
            builder = builder.tls_certs_only([]);
        }
        if let Some(path) = &socket {
            builder = builder.unix_socket(path.as_path());
        }
        let http = builder
            .default_headers(headers)
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(LONGEST_SILENCE)
            // What a machine's processes do is nobody else's business: never through a proxy, never elsewhere.
            .no_proxy()
            .redirect(Policy::none())
            .user_agent(concat!("netspy/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| bad(root_cause(&error)))?;
        let mut shown = base.clone();
        // Refused only for addresses without a host, which http has not.
        let _ = shown.set_password(None).and_then(|()| shown.set_username(""));
        let address = match &socket {
            Some(path) => format!("{UNIX}{}", path.display()),
            None => shown.as_str().trim_end_matches('/').to_owned(),
        };
        Ok(Self { http, base, socket, address })
    }

    /// The server's address as it may be shown: without a password.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How the server is.
    pub async fn health(&self) -> Result<Health, ClientError> {
        self.send(self.get("health")).await
    }

    /// How many outbound connections were attempted.
    pub async fn connection_summary(
        &self,
        request: &SummaryRequest,
    ) -> Result<ConnectionSummary, ClientError> {
        let answer: ConnectionSummary = self.post("api/connection-summary", request).await?;
        let ConnectionSummary { count, total_attempts, duration_seconds, duration, .. } = answer;
        let (count, duration_seconds) = (count.max(total_attempts), duration_seconds.max(duration));
        Ok(ConnectionSummary { count, duration_seconds, ..answer })
    }

    /// How many packets were dropped.
    pub async fn drop_summary(&self, request: &SummaryRequest) -> Result<DropSummary, ClientError> {
        let answer: DropSummary = self.post("api/packet-drop-summary", request).await?;
        let DropSummary { count, total_drops, duration_seconds, duration, .. } = answer;
        let (count, duration_seconds) = (count.max(total_drops), duration_seconds.max(duration));
        Ok(DropSummary { count, duration_seconds, ..answer })
    }

    /// The newest outbound connections.
    pub async fn list_connections(
        &self,
        request: &ListRequest,
    ) -> Result<EventsByPid<ConnectionEvent>, ClientError> {
        self.list("api/list-connections", request).await
    }

    /// The newest dropped packets.
    pub async fn list_packet_drops(
        &self,
        request: &ListRequest,
    ) -> Result<EventsByPid<DropEvent>, ClientError> {
        self.list("api/list-packet-drops", request).await
    }

    /// Who waits for connections or datagrams at this moment.
    pub async fn listeners(&self) -> Result<Listeners, ClientError> {
        self.send(self.get("api/listeners")).await
    }

    /// The newest events, of one type or of all.
    pub async fn events(&self, request: &EventsRequest) -> Result<EventList, ClientError> {
        self.send(self.get("api/events").query(request)).await
    }

    /// Whether what the server answers is complete, and what is wrong if it is not.
    pub async fn ready(&self) -> Result<Readiness, ClientError> {
        let response = self.get("readyz").send().await.map_err(|error| self.failed(&error))?;
        let status = response.status();
        let body = self.body(response).await?;
        match serde_json::from_slice::<Readiness>(&body) {
            // A problem has none of its members.
            Ok(readiness) if !readiness.checks.is_empty() => Ok(readiness),
            _ => Err(self.refused(status, &body)),
        }
    }

    /// The groups of most events.
    pub async fn top(&self, request: &TopRequest) -> Result<TopList, ClientError> {
        self.post("api/top", request).await
    }

    /// What is traced, and how.
    pub async fn programs(&self) -> Result<Programs, ClientError> {
        self.send(self.get("api/programs")).await
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(self.url(path))
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        self.send(self.http.post(self.url(path)).json(body)).await
    }

    /// The earlier aggregator lists for GET only.
    async fn list<T: DeserializeOwned>(&self, path: &str, request: &ListRequest) -> Result<T, ClientError> {
        match self.post(path, request).await {
            Err(ClientError::Status { code: 405, .. }) => self.send(self.get(path).query(request)).await,
            answer => answer,
        }
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        url
    }

    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let response = self.answered(request).await?;
        let body = self.body(response).await?;
        let answer: Value = serde_json::from_slice(&body).map_err(|error| self.malformed(&error))?;
        serde_json::from_value(lenient::read(answer)).map_err(|error| self.malformed(&error))
    }

    /// An answer that is a success.
    pub(crate) async fn answered(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        // A connection that was kept may be cut as idle just when a question leaves. Asking twice changes nothing.
        let reset = |io: &io::Error| io.kind() == io::ErrorKind::ConnectionReset;
        let was_cut = |error: &reqwest::Error| !error.is_connect() && io_cause(error).is_some_and(reset);
        let sent = match (request.try_clone(), request.send().await) {
            (Some(again), Err(error)) if was_cut(&error) => again.send().await,
            (_, sent) => sent,
        };
        let response = sent.map_err(|error| self.failed(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = self.body(response).await?;
        Err(self.refused(status, &body))
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(&error))? {
            if body.len() + chunk.len() > LONGEST_BODY {
                return Err(self.malformed(&format_args!("more than {} MiB", LONGEST_BODY >> 20)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> ClientError {
        let (code, message) = (status.as_u16(), refusal(status, body));
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                ClientError::Denied { url: self.address.clone(), code, message }
            }
            _ => ClientError::Status { code, message },
        }
    }

    pub(crate) fn failed(&self, error: &reqwest::Error) -> ClientError {
        let is_refused = |io: &io::Error| io.kind() == io::ErrorKind::PermissionDenied;
        if self.socket.is_some() && io_cause(error).is_some_and(is_refused) {
            return ClientError::NotForThisUser(self.address.clone());
        }
        let reason = root_cause(error);
        if error.is_timeout() || error.is_connect() || io_cause(error).is_some() {
            ClientError::Unreachable { url: self.address.clone(), reason }
        } else {
            self.malformed(&reason)
        }
    }

    pub(crate) fn malformed(&self, reason: &dyn fmt::Display) -> ClientError {
        ClientError::Malformed { url: self.address.clone(), reason: reason.to_string() }
    }
}

/// How the address of a UNIX socket begins.
const UNIX: &str = "unix:";

/// Where paths are appended to, and the UNIX socket if it is one.
fn parse_base(text: &str) -> Result<(Url, Option<PathBuf>), ClientError> {
    let bad = |reason: String| ClientError::BadUrl { address: without_password(text), reason };
    let parse = |text: &str| {
        Url::parse(text).map_err(|error| bad(format!("{error}; write http://HOST:PORT or unix:/PATH")))
    };
    if let Some(path) = text.strip_prefix(UNIX) {
        return match path.strip_prefix('/') {
            Some(_) => Ok((parse("http://localhost")?, Some(path.into()))),
            None => Err(bad("write unix:/PATH, such as unix:/run/netspy/netspy.sock".to_owned())),
        };
    }
    let url = parse(text)?;
    match url.scheme() {
        "http" if url.query().is_none() && url.fragment().is_none() => Ok((url, None)),
        "http" => Err(bad("a query or fragment has no place here; write http://HOST:PORT".to_owned())),
        "https" => Err(bad(
            "netspy-server speaks plain http; write http://HOST:PORT, or tunnel with ssh -L".to_owned()
        )),
        _ => Err(bad("it must begin with http://, such as http://localhost:8080, or with unix:/".to_owned())),
    }
}

/// Whatever stands before the last `@` may be a password, in a well-formed address or not.
fn without_password(address: &str) -> String {
    let Some((before, host)) = address.rsplit_once('@') else { return address.to_owned() };
    match before.split_once("//") {
        Some((scheme, _)) => format!("{scheme}//{host}"),
        None => host.to_owned(),
    }
}

/// The server's own words: `message` of a JSON error, or a text body, or at least the name of the status.
fn refusal(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let words = match serde_json::from_slice::<ErrorBody>(body) {
        Ok(ErrorBody { message, .. }) if !message.is_empty() => message,
        Ok(ErrorBody { error, .. }) if !error.is_empty() => error,
        _ => text.trim().to_owned(),
    };
    if words.is_empty() {
        return status.canonical_reason().unwrap_or("no reason given").to_owned();
    }
    words.chars().take(LONGEST_MESSAGE).collect()
}

/// The innermost cause: the outer ones only say that a request failed, and show the address.
fn root_cause(error: &reqwest::Error) -> String {
    match io_cause(error).map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => return "connection refused".to_owned(),
        Some(io::ErrorKind::NotFound) => return "no such socket".to_owned(),
        _ => {}
    }
    if error.is_timeout() {
        let limit = if error.is_connect() { CONNECT_TIMEOUT } else { TIMEOUT };
        return format!("no answer within {} seconds", limit.as_secs());
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn io_cause(error: &reqwest::Error) -> Option<&io::Error> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io);
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(address: &str) -> String {
        Client::new(address).unwrap_err().to_string()
    }

    #[test]
    fn only_http_addresses_are_taken() {
        assert!(Client::new("http://localhost:8080").is_ok());
        assert!(reason("https://localhost").contains("plain http"));
        assert!(reason("localhost:8080").contains("begin with http://"));
        assert!(reason("").contains("write http://HOST:PORT"));
        assert!(reason("unix:run/x").contains("unix:/run/netspy/netspy.sock"));
        assert_eq!(Client::new("unix:/run/x").unwrap().address(), "unix:/run/x");
        assert!(reason("http://host/?a=1").contains("query"));
    }

    #[test]
    fn a_password_is_never_shown() {
        for address in
            ["https://me:secret@host", "me:secret@host", "http://me:secret@", "http://me:sec@ret@:x"]
        {
            assert!(!reason(address).contains("sec"), "{address}");
        }
        let client = Client::new("http://me:secret@host:1/a@b/").unwrap();
        assert_eq!(client.address(), "http://host:1/a@b");
        assert!(!format!("{client:?}").contains("secret"));
    }

    #[test]
    fn slashes_are_joined_once() {
        for address in ["http://h:1", "http://h:1/", "http://h:1//"] {
            assert_eq!(Client::new(address).unwrap().url("health").as_str(), "http://h:1/health");
        }
        assert_eq!(Client::new("http://h:1/a/").unwrap().url("api/x").as_str(), "http://h:1/a/api/x");
    }

    #[test]
    fn a_refusal_is_quoted_whatever_its_form() {
        let said = |body: &str| refusal(StatusCode::BAD_REQUEST, body.as_bytes());
        assert_eq!(said(r#"{"error":"Bad Request","message":"limit: 1 to 10000"}"#), "limit: 1 to 10000");
        assert_eq!(said("Invalid JSON\n"), "Invalid JSON");
        assert_eq!(said(""), "Bad Request");
    }
}
