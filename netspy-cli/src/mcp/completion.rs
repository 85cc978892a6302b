//! Completions: names and addresses that were really seen in the last hour.

use std::collections::BTreeSet;

use netspy_api::Client;
use rmcp::model::{CompleteRequestParams, CompleteResult, CompletionInfo, ErrorData};

use crate::registry::Seen;
use crate::render::escape;

pub(super) async fn complete(
    client: &Client,
    request: &CompleteRequestParams,
) -> Result<CompleteResult, ErrorData> {
    let seen = match request.argument.name.as_str() {
        "process_name" => Seen::look(client).await.names,
        "to" => Seen::look(client).await.addresses,
        _ => BTreeSet::new(),
    };
    let fitting: Vec<String> = seen
        .iter()
        .filter(|name| name.starts_with(&request.argument.value))
        .map(|name| escape::text(name).into_owned())
        .collect();
    let total = u32::try_from(fitting.len()).unwrap_or(u32::MAX);
    let has_more = fitting.len() > CompletionInfo::MAX_VALUES;
    let values = fitting.into_iter().take(CompletionInfo::MAX_VALUES).collect();
    let info = CompletionInfo::with_pagination(values, Some(total), has_more)
        .map_err(|error| ErrorData::internal_error(error, None))?;
    Ok(CompleteResult::new(info))
}
