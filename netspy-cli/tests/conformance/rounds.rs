//! Tools that need input of the client, as 2026-07-28 does it: the answer asks, the next call brings what was asked.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::LazyLock;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ErrorData, GetPromptRequestParams, GetPromptResponse,
    InputRequiredResult, InputResponses,
};
use serde_json::{Map, Value, json};

use crate::tools::needs;
use crate::{Context, wire};

/// What keeps a state from being changed: random with every start.
static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

pub(crate) fn elicitation(message: &str, schema: &Value) -> Value {
    json!({"method": "elicitation/create", "params": {"mode": "form", "message": message, "requestedSchema": schema}})
}

pub(crate) fn sampling(prompt: &str, tokens: u32) -> Value {
    let message = json!({"role": "user", "content": {"type": "text", "text": prompt}});
    json!({"method": "sampling/createMessage", "params": {"messages": [message], "maxTokens": tokens}})
}

pub(crate) fn one(message: &str, name: &str, kind: &str) -> Value {
    let mut properties = Map::new();
    properties.insert(name.to_owned(), json!({"type": kind}));
    elicitation(message, &json!({"type": "object", "properties": properties, "required": [name]}))
}

fn roots() -> Value {
    json!({"method": "roots/list", "params": {}})
}

/// A state that only this process can make.
fn seal(state: &str) -> String {
    format!("{state}.{:016x}", KEY.hash_one(state))
}

fn open(sealed: Option<&str>) -> Result<Option<&str>, ErrorData> {
    let Some(sealed) = sealed else { return Ok(None) };
    let state = sealed.rsplit_once('.').map(|(state, _)| state).filter(|state| seal(state) == sealed);
    state.map(Some).ok_or_else(|| ErrorData::invalid_params("the state was changed", None))
}

pub(crate) fn tool(
    request: &CallToolRequestParams,
    context: &Context,
) -> Result<CallToolResponse, ErrorData> {
    let empty = InputResponses::new();
    let given = request.input_responses.as_ref().unwrap_or(&empty);
    let state = open(request.request_state.as_deref())?;
    let content =
        |name: &str, field: &str| given.get(name).and_then(|answer| answer["content"].get(field)).cloned();
    let has = |name: &str| given.contains_key(name);
    let name = || one("What is your name?", "name", "string");
    match request.name.as_ref() {
        "test_input_required_result_elicitation" | "test_streaming_elicitation" => {
            match content("user_name", "name").and_then(|name| name.as_str().map(str::to_owned)) {
                Some(name) => Ok(text(&format!("Hello, {name}!"))),
                None => Ok(ask(json!({"user_name": name()}), None)),
            }
        }
        "test_input_required_result_sampling" => match given.get("capital_question") {
            Some(answer) => Ok(text(answer["content"]["text"].as_str().unwrap_or_default())),
            None => {
                Ok(ask(json!({"capital_question": sampling("What is the capital of France?", 100)}), None))
            }
        },
        "test_input_required_result_list_roots" => match given.get("client_roots") {
            Some(answer) => Ok(text(&format!("roots: {}", answer["roots"]))),
            None => Ok(ask(json!({"client_roots": roots()}), None)),
        },
        "test_input_required_result_request_state" | "test_input_required_result_tampered_state" => {
            if has("confirm") && state == Some("confirming") {
                return Ok(text("state-ok"));
            }
            Ok(ask(json!({"confirm": one("Please confirm", "ok", "boolean")}), Some("confirming")))
        }
        "test_input_required_result_multiple_inputs" => {
            if ["user_name", "greeting", "client_roots"].into_iter().all(has) && state == Some("several") {
                return Ok(text("all are here"));
            }
            let greeting = sampling("Generate a greeting", 50);
            Ok(ask(
                json!({"user_name": name(), "greeting": greeting, "client_roots": roots()}),
                Some("several"),
            ))
        }
        "test_input_required_result_multi_round" => match (state, has("step1"), has("step2")) {
            (Some("second"), _, true) => Ok(text("done")),
            (Some("first"), true, _) => Ok(ask(
                json!({"step2": one("Step 2: What is your favorite color?", "color", "string")}),
                Some("second"),
            )),
            _ => {
                Ok(ask(json!({"step1": one("Step 1: What is your name?", "name", "string")}), Some("first")))
            }
        },
        "test_input_required_result_capabilities" => {
            needs(
                context,
                |can| can.sampling.is_some() || can.elicitation.is_some(),
                &json!({"sampling": {}}),
            )?;
            let can = context.client_capabilities().unwrap_or_default();
            let mut asked = Map::new();
            if can.sampling.is_some() {
                asked.insert("sampled".to_owned(), sampling("Say hello", 20));
            }
            if can.elicitation.is_some() {
                asked.insert("user_name".to_owned(), name());
            }
            Ok(ask(Value::Object(asked), None))
        }
        _ => Err(ErrorData::invalid_params("no such tool", None)),
    }
}

pub(crate) fn prompt(request: &GetPromptRequestParams) -> GetPromptResponse {
    let answer = request.input_responses.as_ref().and_then(|given| given.get("user_context"));
    let Some(answer) = answer else {
        let asked = json!({"user_context": one("What context should the prompt use?", "context", "string")});
        return GetPromptResponse::InputRequired(required(asked, None));
    };
    let text = format!("Use this context: {}", answer["content"]["context"].as_str().unwrap_or_default());
    let message = json!({"role": "user", "content": {"type": "text", "text": text}});
    GetPromptResponse::Complete(wire(json!({"resultType": "complete", "messages": [message]})))
}

pub(crate) fn ask(requests: Value, state: Option<&str>) -> CallToolResponse {
    CallToolResponse::InputRequired(required(requests, state))
}

fn required(requests: Value, state: Option<&str>) -> InputRequiredResult {
    InputRequiredResult::new(Some(wire(requests)), state.map(seal))
}

fn text(text: &str) -> CallToolResponse {
    CallToolResponse::Complete(wire(
        json!({"resultType": "complete", "content": [{"type": "text", "text": text}]}),
    ))
}
