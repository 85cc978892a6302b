//! The tools for AI agents: an MCP server over standard input and output, or over HTTP. The only place that
//! knows rmcp and axum.
//!
//! It adds nothing to the registry but a bound on the length of an answer and on who may call, and shows no
//! string of the machine raw: what a process calls itself must not reach a model unseen.

mod access;
mod completion;
pub mod http;
mod prompts;
mod resources;
mod server;

use netspy_api::Client;
use rmcp::ServiceExt;
use rmcp::service::ServerInitializeError;

use crate::ai::Settings;
use crate::cli::{McpCommand, McpFlags, Toolset};
use crate::output::{self, Exit};
use crate::registry::{self, Reach, Tool};
use crate::render::escape;
use server::McpServer;

/// Runs `netspy mcp` as its flags say.
pub(crate) async fn run(client: Client, ai: Settings, flags: McpFlags) -> Exit {
    let done = match (flags.command, flags.http) {
        (Some(McpCommand::Token(token)), _) => access::token::make(&token),
        (None, None) => serve_stdio(McpServer::new(client, ai, offered(&flags.tools, &flags.toolsets))).await,
        (None, Some(address)) => {
            let server = McpServer::new(client, ai, offered(&flags.tools, &flags.toolsets));
            http::serve(server, address, &flags.access).await
        }
    };
    done.unwrap_or_else(|(exit, reason)| {
        output::words(&format!("Error: {}", escape::text(&reason)));
        exit
    })
}

/// How a front ends that cannot go on.
type Done = Result<Exit, (Exit, String)>;

/// The tools of these names and of these sets; all of them where nothing is said.
fn offered(names: &[String], sets: &[Toolset]) -> Vec<&'static Tool> {
    let is_in_set = |tool: &Tool| {
        let set = if tool.reach == Reach::Ai { Toolset::Ai } else { Toolset::Core };
        sets.is_empty() || sets.contains(&set)
    };
    let is_named = |tool: &Tool| names.is_empty() || names.iter().any(|name| name == tool.name);
    registry::TOOLS.iter().filter(|tool| is_in_set(tool) && is_named(tool)).collect()
}

/// Serves until the client closes its end.
async fn serve_stdio(server: McpServer) -> Done {
    let failed = |reason: String| (Exit::Failed, format!("MCP: {reason}"));
    match server.serve(rmcp::transport::stdio()).await {
        Ok(running) => {
            running.waiting().await.map(|_| Exit::Success).map_err(|error| failed(error.to_string()))
        }
        // The client left before it said hello, or after asking only what we can do.
        Err(ServerInitializeError::ConnectionClosed(_)) => Ok(Exit::Success),
        Err(error) => Err(failed(error.to_string())),
    }
}
