//! MCP over Streamable HTTP: one endpoint, `/mcp`, without sessions.
//!
//! `Host` and `Origin` are checked, so that no web page can reach it by way of a browser. An address that others can
//! reach needs tokens.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use axum::routing::get;
use axum::{Json, Router, middleware};
use reqwest::Url;
use rmcp::ServerHandler;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::Done;
use super::access::audit::Audit;
use super::access::gate::{self, Gate};
use super::access::jwt::Issuer;
use super::access::token::Tokens;
use super::server::McpServer;
use crate::cli::AccessFlags;
use crate::output::{self, Exit};

/// Questions are short.
const LONGEST_REQUEST: usize = 1 << 20;
/// Pages of this machine's own servers, such as an inspector.
const LOCAL_ORIGINS: [&str; 3] = ["http://localhost:*", "http://127.0.0.1:*", "http://[::1]:*"];

/// Who is let in, and under which names.
pub struct Access {
    gate: Gate,
    hosts: Vec<String>,
    origins: Vec<String>,
    sessions: bool,
}

impl Access {
    /// Everybody on this machine, at most `rate` requests a minute.
    pub fn local(rate: NonZeroU32) -> Self {
        Self { gate: Gate::new(rate), hosts: Vec::new(), origins: Vec::new(), sessions: false }
    }

    /// Keeps sessions for clients of the revisions that have them. netspy needs none: it never asks the client
    /// back.
    #[must_use]
    pub fn with_sessions(self) -> Self {
        Self { sessions: true, ..self }
    }
}

/// The production router, whichever handler is behind it.
pub fn router<S: ServerHandler + Send + 'static>(
    handler: impl Fn() -> S + Send + Sync + 'static,
    access: Access,
) -> Router {
    let Access { gate, hosts, origins, sessions } = access;
    let hosts = ["localhost", "127.0.0.1", "::1"].into_iter().map(str::to_owned).chain(hosts);
    let origins = LOCAL_ORIGINS.into_iter().map(str::to_owned).chain(origins);
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(sessions)
        .with_json_response(true)
        .with_max_request_body_bytes(LONGEST_REQUEST)
        .with_allowed_hosts(hosts)
        .with_allowed_origins(origins);
    let service =
        StreamableHttpService::new(move || Ok(handler()), Arc::new(LocalSessionManager::default()), config);
    let issuer = gate.issuer.clone();
    let guarded =
        Router::new().nest_service("/mcp", service).layer(middleware::from_fn_with_state(gate, gate::pass));
    match issuer {
        None => guarded,
        // Whoever has no token yet reads here where to get one.
        Some(issuer) => {
            let path = issuer.metadata_path();
            guarded.route(&path, get(move || async move { Json(issuer.metadata()) }))
        }
    }
}

/// Serves until it is told to stop.
pub(super) async fn serve(server: McpServer, address: SocketAddr, flags: &AccessFlags) -> Done {
    if !address.ip().is_loopback() && flags.token_file.is_none() && flags.oauth_issuer.is_none() {
        let reason = format!(
            "{address} can be reached from other machines: give --token-file (see netspy mcp token --help) or --oauth-issuer, or serve \
             at 127.0.0.1"
        );
        return Err((Exit::Usage, reason));
    }
    let failed = |reason: String| (Exit::Failed, reason);
    let tokens = flags.token_file.clone().map(Tokens::open).transpose().map_err(failed)?;
    let audit = flags.audit.as_deref().map(Audit::open).transpose().map_err(failed)?.map(Arc::new);
    let listener = TcpListener::bind(address).await.map_err(|error| {
        failed(format!("cannot listen at {address}: {error}; give another --http ADDRESS"))
    })?;
    let address = listener.local_addr().unwrap_or(address);
    let mut hosts = flags.allow_host.clone();
    if !address.ip().is_unspecified() {
        hosts.push(address.ip().to_string());
    }
    let issuer = match &flags.oauth_issuer {
        None => None,
        Some(issuer) => {
            let own =
                || Url::parse(&format!("http://{address}/mcp")).map_err(|error| failed(error.to_string()));
            let resource = flags.oauth_resource.clone().map_or_else(own, Ok)?;
            Some(Issuer::discover(issuer, resource).await.map_err(failed)?)
        }
    };
    let mut gate = Gate::new(flags.rate);
    gate.tokens = tokens.map(Arc::new);
    gate.issuer = issuer.map(Arc::new);
    gate.audit.clone_from(&audit);
    let access = Access { gate, hosts, origins: flags.allow_origin.clone(), sessions: false };
    let server = server.audited(audit);
    let routes = router(move || server.clone(), access).into_make_service_with_connect_info::<SocketAddr>();
    output::words(&format!("Serving MCP at http://{address}/mcp; Ctrl-C ends"));
    let served = axum::serve(listener, routes).with_graceful_shutdown(told_to_stop()).await;
    served.map(|()| Exit::Success).map_err(|error| failed(format!("cannot go on serving: {error}")))
}

async fn told_to_stop() {
    // Without a handler for it, SIGTERM ends the process all the same.
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
