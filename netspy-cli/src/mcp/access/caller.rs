//! Who calls, and what they may do.

use std::collections::BTreeSet;

use axum::http::request::Parts;
use rmcp::service::{RequestContext, RoleServer};

use crate::registry::Reach;

/// What a token can allow, by the name that OAuth and token files use.
pub(in crate::mcp) const SCOPES: [(&str, Reach); 3] =
    [("netspy:read", Reach::Read), ("netspy:trace", Reach::Trace), ("netspy:ai", Reach::Ai)];

/// Somebody who may call.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::mcp) struct Caller {
    /// Name of the token, or subject of the JWT; empty for whoever needs none.
    pub(in crate::mcp) name: String,
    reach: BTreeSet<Reach>,
}

impl Caller {
    /// With these scopes; those of other services are not ours to judge.
    pub(in crate::mcp) fn new<'a>(name: &str, scopes: impl IntoIterator<Item = &'a str>) -> Self {
        let reach = scopes.into_iter().filter_map(reach_of).collect();
        Self { name: name.to_owned(), reach }
    }

    /// Who needs no token: the user at the other end of the pipe, or of loopback.
    pub(in crate::mcp) fn local() -> Self {
        Self::new("", SCOPES.map(|(scope, _)| scope))
    }

    /// Who sent this request. Over standard input there is no gate, and nobody else.
    pub(in crate::mcp) fn of(context: &RequestContext<RoleServer>) -> Self {
        match context.extensions.get::<Parts>() {
            None => Self::local(),
            // The gate lets nobody through without a name; should it be missing, nothing is allowed.
            Some(parts) => parts.extensions.get().cloned().unwrap_or_else(|| Self::new("", [])),
        }
    }

    pub(in crate::mcp) fn may(&self, reach: Reach) -> bool {
        self.reach.contains(&reach)
    }

    /// Whether there is anything it may do.
    pub(in crate::mcp) fn may_anything(&self) -> bool {
        !self.reach.is_empty()
    }
}

/// What a scope allows, if it is one of ours.
pub(in crate::mcp) fn reach_of(scope: &str) -> Option<Reach> {
    SCOPES.iter().find(|(name, _)| *name == scope).map(|(_, reach)| *reach)
}
