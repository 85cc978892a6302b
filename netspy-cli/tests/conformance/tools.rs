//! Tools that answer in one round, or ask the client back as revisions before 2026-07-28 do.

use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ClientCapabilities, ClientResult, ErrorData, ServerRequest, Tool,
};
use rmcp::service::ServiceError;
use serde_json::{Value, json};

use crate::{Context, PNG, rounds, tasks, wire};

/// A WAV file without a sample.
const WAV: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA=";
const PAUSE: Duration = Duration::from_millis(50);

/// Names, and the one text argument of those that have one.
const TOOLS: [(&str, Option<&str>); 20] = [
    ("test_reconnection", None),
    ("test_trigger_tool_change", None),
    ("test_trigger_prompt_change", None),
    ("test_simple_text", None),
    ("test_image_content", None),
    ("test_audio_content", None),
    ("test_embedded_resource", None),
    ("test_multiple_content_types", None),
    ("test_tool_with_logging", None),
    ("test_error_handling", None),
    ("test_tool_with_progress", None),
    ("test_sampling", Some("prompt")),
    ("test_elicitation", Some("message")),
    ("test_elicitation_sep1034_defaults", None),
    ("test_elicitation_sep1330_enums", None),
    ("test_missing_capability", None),
    ("test_streaming_elicitation", None),
    ("test_logging_tool", None),
    ("test_input_required_result_elicitation", None),
    ("test_input_required_result_sampling", None),
];

const ROUNDS: [&str; 6] = [
    "test_input_required_result_list_roots",
    "test_input_required_result_request_state",
    "test_input_required_result_multiple_inputs",
    "test_input_required_result_multi_round",
    "test_input_required_result_tampered_state",
    "test_input_required_result_capabilities",
];

pub(crate) fn list() -> Vec<Tool> {
    let described = TOOLS.into_iter().chain(ROUNDS.map(|name| (name, None))).map(|(name, argument)| {
        let mut schema = json!({"type": "object", "properties": {}});
        if let Some(argument) = argument {
            schema["properties"][argument] = json!({"type": "string"});
            schema["required"] = json!([argument]);
        }
        tool(name, &schema)
    });
    let of_tasks = tasks::TOOLS.into_iter().map(|(name, arguments)| {
        let properties: Value =
            arguments.iter().map(|(name, kind)| ((*name).to_owned(), json!({"type": kind}))).collect();
        tool(name, &json!({"type": "object", "properties": properties}))
    });
    let special = [
        tool("json_schema_2020_12_tool", &full_schema()),
        tool(
            "test_custom_header",
            &json!({"type": "object", "properties": {"value": {"type": "string", "x-mcp-header": "Value"}}}),
        ),
    ];
    described.chain(of_tasks).chain(special).collect()
}

fn tool(name: &str, schema: &Value) -> Tool {
    wire(json!({"name": name, "description": format!("{name} of the suite"), "inputSchema": schema}))
}

/// Every keyword of JSON Schema 2020-12 that must survive the way to the client, as the suite describes it.
fn full_schema() -> Value {
    let (text, needs) = (json!({"type": "string"}), |name: &str| json!({"required": [name]}));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"address": {
            "$anchor": "addressDef", "type": "object", "properties": {"street": text, "city": text},
        }},
        "properties": {
            "name": text, "address": {"$ref": "#/$defs/address"}, "phone": text, "email": text,
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        },
        "allOf": [{"anyOf": [needs("phone"), needs("email")]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": needs("phone"),
        "else": needs("email"),
        "additionalProperties": false,
    })
}

pub(crate) async fn call(
    request: &CallToolRequestParams,
    context: &Context,
) -> Result<CallToolResponse, ErrorData> {
    let text = |text: &str| json!({"type": "text", "text": text});
    let image = json!({"type": "image", "data": PNG, "mimeType": "image/png"});
    let resource = |uri: &str, kind: &str, text: &str| json!({"type": "resource", "resource": {"uri": uri, "mimeType": kind, "text": text}});
    let content = match request.name.as_ref() {
        "json_schema_2020_12_tool" | "test_custom_header" => vec![text("done")],
        "test_trigger_tool_change" | "test_trigger_prompt_change" => vec![text("told")],
        "test_reconnection" => {
            tokio::time::sleep(PAUSE).await;
            vec![text("done")]
        }
        "test_simple_text" => vec![text("This is a simple text response for testing.")],
        "test_image_content" => vec![image],
        "test_audio_content" => vec![json!({"type": "audio", "data": WAV, "mimeType": "audio/wav"})],
        "test_embedded_resource" => {
            vec![resource("test://embedded-resource", "text/plain", "This is an embedded resource content.")]
        }
        "test_multiple_content_types" => {
            let data = r#"{"test":"data","value":123}"#;
            let mixed = resource("test://mixed-content-resource", "application/json", data);
            vec![text("Multiple content types test:"), image, mixed]
        }
        "test_error_handling" => {
            let said = text("This tool intentionally returns an error for testing");
            return Ok(CallToolResponse::Complete(wire(
                json!({"resultType": "complete", "isError": true, "content": [said]}),
            )));
        }
        "test_tool_with_logging" => {
            for said in ["Tool execution started", "Tool processing data", "Tool execution completed"] {
                log(context, said).await;
                tokio::time::sleep(PAUSE).await;
            }
            vec![text("logged")]
        }
        "test_logging_tool" => {
            if context.meta.log_level().is_some() {
                log(context, "asked for").await;
            }
            vec![text("done")]
        }
        "test_tool_with_progress" => {
            for progress in [0, 50, 100] {
                if let Some(token) = context.meta.get_progress_token() {
                    let step = json!({"progressToken": token, "progress": progress, "total": 100});
                    context.peer.notify_progress(wire(step)).await.unwrap();
                }
                tokio::time::sleep(PAUSE).await;
            }
            vec![text("done")]
        }
        "test_missing_capability" => {
            needs(context, |can| can.sampling.is_some(), &json!({"sampling": {}}))?;
            vec![text("the client can sample")]
        }
        "test_streaming_elicitation" => return rounds::tool(request, context),
        "test_sampling" => {
            let prompt = argument(request, "prompt");
            let answer = ask(context, rounds::sampling(&prompt, 100)).await?;
            vec![text(&format!("LLM response: {}", answer["content"]["text"].as_str().unwrap_or_default()))]
        }
        "test_elicitation" => {
            let said = |what: &str| json!({"type": "string", "description": what});
            let properties =
                json!({"username": said("User's response"), "email": said("User's email address")});
            let schema =
                json!({"type": "object", "properties": properties, "required": ["username", "email"]});
            let answer = ask(context, rounds::elicitation(&argument(request, "message"), &schema)).await?;
            vec![text(&format!("User response: {answer}"))]
        }
        "test_elicitation_sep1034_defaults" => vec![text(&elicited(context, defaults()).await?)],
        "test_elicitation_sep1330_enums" => vec![text(&elicited(context, choices()).await?)],
        _ => return Err(ErrorData::invalid_params("no such tool", None)),
    };
    Ok(CallToolResponse::Complete(wire(json!({"resultType": "complete", "content": content}))))
}

fn argument(request: &CallToolRequestParams, name: &str) -> String {
    let value = request.arguments.as_ref().and_then(|map| map.get(name)).and_then(Value::as_str);
    value.unwrap_or_default().to_owned()
}

/// Refuses, as SEP-2575 says, what needs a capability that the client has not.
pub(crate) fn needs(
    context: &Context,
    has: impl Fn(&ClientCapabilities) -> bool,
    needed: &Value,
) -> Result<(), ErrorData> {
    if context.client_capabilities().is_some_and(|can| has(&can)) {
        return Ok(());
    }
    Err(ErrorData::missing_required_client_capability(wire(needed.clone())))
}

async fn log(context: &Context, said: &str) {
    context.peer.notify_logging_message(wire(json!({"level": "info", "data": said}))).await.unwrap();
}

/// Asks the client back over the same stream.
async fn ask(context: &Context, request: Value) -> Result<Value, ErrorData> {
    let request: ServerRequest = wire(request);
    let answer: Result<ClientResult, ServiceError> = context.peer.send_request(request).await;
    let answer = answer.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
    Ok(serde_json::to_value(answer).unwrap())
}

async fn elicited(context: &Context, properties: Value) -> Result<String, ErrorData> {
    let schema = json!({"type": "object", "properties": properties, "required": []});
    let answer = ask(context, rounds::elicitation("Please fill in", &schema)).await?;
    Ok(format!("Elicitation completed: action={}, content={}", answer["action"], answer["content"]))
}

fn defaults() -> Value {
    json!({
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": true},
    })
}

fn choices() -> Value {
    let titled =
        |values: [(&str, &str); 3]| values.map(|(value, title)| json!({"const": value, "title": title}));
    let one = titled([("value1", "First Option"), ("value2", "Second Option"), ("value3", "Third Option")]);
    let many = titled([("value1", "First Choice"), ("value2", "Second Choice"), ("value3", "Third Choice")]);
    let plain = ["option1", "option2", "option3"];
    json!({
        "untitledSingle": {"type": "string", "enum": plain},
        "titledSingle": {"type": "string", "oneOf": one},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": plain}},
        "titledMulti": {"type": "array", "items": {"anyOf": many}},
    })
}
