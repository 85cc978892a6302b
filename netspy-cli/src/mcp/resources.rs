//! Resources: what an agent may want to read once. The schema of an event, the state of the server, and the
//! findings about one process.

use netspy_api::{ConnectionEvent, DropEvent};
use rmcp::model::{ErrorData, ReadResourceResult, Resource, ResourceContents, ResourceTemplate};
use schemars::schema_for;
use serde_json::{Map, Value, json};

use crate::registry::{self, Context};
use crate::render::escape;

const JSON: &str = "application/json";
const CONNECTION: &str = "netspy://schema/connection";
const DROP: &str = "netspy://schema/packet_drop";
const STATUS: &str = "netspy://status";
const FINDINGS: &str = "netspy://findings/";

pub(super) fn list() -> Vec<Resource> {
    let described = [
        (
            CONNECTION,
            "connection-schema",
            "Schema of a connection",
            "Every field of a connection event, with its unit.",
        ),
        (
            DROP,
            "packet-drop-schema",
            "Schema of a packet drop",
            "Every field of a packet drop event, with its unit.",
        ),
        (
            STATUS,
            "status",
            "Status of the server",
            "What is traced, how, and what was lost in the last hour.",
        ),
    ];
    let resources = described.map(|(uri, name, title, description)| {
        Resource::new(uri, name).with_title(title).with_description(description).with_mime_type(JSON)
    });
    resources.into()
}

pub(super) fn templates() -> Vec<ResourceTemplate> {
    let findings = ResourceTemplate::new(format!("{FINDINGS}{{process_name}}"), "findings")
        .with_title("Findings about a process")
        .with_description("What fails for a process, of the last hour: the answer of explain_failures.")
        .with_mime_type(JSON);
    vec![findings]
}

pub(super) async fn read(context: &Context<'_>, uri: &str) -> Result<ReadResourceResult, ErrorData> {
    let value = match uri {
        CONNECTION => schema_for!(ConnectionEvent).to_value(),
        DROP => schema_for!(DropEvent).to_value(),
        STATUS => ask(context, "get_status", Map::new()).await?,
        _ => {
            let process =
                uri.strip_prefix(FINDINGS).filter(|name| !name.is_empty()).ok_or_else(|| unknown(uri))?;
            let arguments = [("process_name".to_owned(), Value::from(decoded(process)))];
            ask(context, "explain_failures", arguments.into_iter().collect()).await?
        }
    };
    let contents = ResourceContents::text(escape::strings(value).to_string(), uri).with_mime_type(JSON);
    Ok(ReadResourceResult::new(vec![contents]))
}

async fn ask(context: &Context<'_>, tool: &str, arguments: Map<String, Value>) -> Result<Value, ErrorData> {
    let Some(tool) = registry::find(tool) else { return Err(unknown(tool)) };
    let answer = tool.call(context, arguments).await;
    answer
        .map(|answer| answer.value)
        .map_err(|error| ErrorData::internal_error(escape::text(&error.to_string()).into_owned(), None))
}

/// Percent-encoding undone (RFC 3986): a name may hold a slash. What is no encoding stays.
fn decoded(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| byte == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        let escaped = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn unknown(uri: &str) -> ErrorData {
    let known = format!("{CONNECTION}, {DROP}, {STATUS}, {FINDINGS}{{process_name}}");
    let message = format!("no resource {}; there are: {known}", escape::text(uri));
    ErrorData::resource_not_found(message, Some(json!({"uri": escape::text(uri)})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_addresses_are_decoded() {
        assert_eq!(decoded("kworker%2F0:1"), "kworker/0:1");
        assert_eq!(decoded("100%"), "100%");
        assert_eq!(decoded("%zz%41"), "%zzA");
        assert_eq!(decoded("caf%C3%A9"), "café");
    }
}
