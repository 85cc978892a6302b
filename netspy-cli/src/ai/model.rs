//! One request to a model that speaks the Chat Completions protocol, by whatever server.

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use serde_json::Value;

use super::audit;
use super::settings::{Endpoint, Settings};

/// What the model wants.
#[derive(Debug)]
pub(super) enum Reply {
    /// It has an answer.
    Text(String),
    /// It wants tools called: its message as it is to be repeated, and the calls.
    Calls(Value, Vec<Wish>),
}

#[derive(Debug)]
pub(super) struct Wish {
    pub(super) id: String,
    pub(super) tool: String,
    pub(super) arguments: String,
}

/// Sends it, and writes down that it was sent.
pub(super) async fn ask(settings: &Settings, endpoint: &Endpoint, request: &Value) -> Result<Reply, String> {
    let config = OpenAIConfig::new().with_api_base(&endpoint.base).with_api_key(&endpoint.key);
    let sent = request.to_string();
    let answer: Result<Value, _> = Client::with_config(config).chat().create_byot(request).await;
    let answer = answer.map_err(|error| error.to_string());
    let words = answer.as_ref().map(Value::to_string);
    audit::record(
        settings.audit.as_deref(),
        endpoint,
        &sent,
        words.as_deref().map_err(|error| error.as_str()),
    );
    read(&answer?)
}

fn read(answer: &Value) -> Result<Reply, String> {
    let message = &answer["choices"][0]["message"];
    let calls = message["tool_calls"].as_array().filter(|calls| !calls.is_empty());
    if let Some(calls) = calls {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let wishes = calls.iter().map(|call| Wish {
            id: text(&call["id"]),
            tool: text(&call["function"]["name"]),
            arguments: text(&call["function"]["arguments"]),
        });
        return Ok(Reply::Calls(message.clone(), wishes.collect()));
    }
    match message["content"].as_str() {
        Some(text) if !text.trim().is_empty() => Ok(Reply::Text(text.to_owned())),
        _ => Err("the model answered without words".to_owned()),
    }
}
