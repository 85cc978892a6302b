//! Tools that may go on as a task (SEP-2663, an extension of 2026-07-28), by the names that the suite calls.

use std::pin::Pin;
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, CreateTaskResult, ErrorData,
    InputRequest,
};
use rmcp::task_manager::{TaskContext, TaskExit, TaskManager, TaskOptions};
use serde_json::{Value, json};

use crate::rounds::one;
use crate::tools::needs;
use crate::{Context, wire};

/// Names, and the arguments of each.
pub(crate) const TOOLS: [(&str, &[(&str, &str)]); 7] = [
    ("greet", &[("name", "string")]),
    ("slow_compute", &[("seconds", "number"), ("label", "string")]),
    ("failing_job", &[]),
    ("protocol_error_job", &[]),
    ("confirm_delete", &[("filename", "string")]),
    ("multi_input", &[]),
    ("test_tool_with_task", &[]),
];
/// Those that make no sense but as a task.
const ONLY_TASKS: [&str; 4] = ["failing_job", "confirm_delete", "multi_input", "test_tool_with_task"];

type Work = Pin<Box<dyn Future<Output = Result<CallToolResult, TaskExit>> + Send>>;

pub(crate) async fn call(
    tasks: &TaskManager,
    request: &CallToolRequestParams,
    context: &Context,
) -> Result<CallToolResponse, ErrorData> {
    let name = request.name.to_string();
    if name == "greet" {
        let who = argument(request, "name").as_str().unwrap_or("nobody").to_owned();
        return Ok(said(&format!("Hello, {who}!")).into());
    }
    if ONLY_TASKS.contains(&name.as_str()) {
        let extension = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
        needs(context, rmcp::model::ClientCapabilities::supports_tasks, &extension)?;
    }
    let given = request.input_responses.as_ref().and_then(|given| given.get("user_name")).cloned();
    if name == "test_tool_with_task" && given.is_none() {
        return Ok(crate::rounds::ask(
            json!({"user_name": one("What is your name?", "name", "string")}),
            None,
        ));
    }
    let who = given.map(|answer| content(&answer, "name")).unwrap_or_default();
    let request = request.clone();
    let work = move |task: Option<TaskContext>| -> Work { Box::pin(work(request, who, task)) };
    if context.client_capabilities().is_some_and(|can| can.supports_tasks()) {
        let task = tasks.spawn(TaskOptions::default(), |task| work(Some(task)));
        return Ok(CreateTaskResult::new(task).into());
    }
    match work(None).await {
        Ok(result) => Ok(result.into()),
        Err(TaskExit::Error(error)) => Err(error),
        Err(TaskExit::Cancelled) => Err(ErrorData::internal_error("cancelled", None)),
    }
}

async fn work(
    request: CallToolRequestParams,
    who: String,
    task: Option<TaskContext>,
) -> Result<CallToolResult, TaskExit> {
    let done = match request.name.as_ref() {
        "slow_compute" => {
            let seconds = argument(&request, "seconds").as_f64().unwrap_or(1.0);
            rest(Duration::from_secs_f64(seconds), task.as_ref()).await?;
            said(&format!("{} took {seconds} s", argument(&request, "label")))
        }
        "failing_job" => {
            rest(Duration::from_secs(1), task.as_ref()).await?;
            CallToolResult::error(vec![ContentBlock::text("the job failed, as it should")])
        }
        "protocol_error_job" => {
            rest(Duration::from_millis(200), task.as_ref()).await?;
            return Err(ErrorData::internal_error("the job broke the protocol, as it should", None).into());
        }
        "confirm_delete" => {
            let question = format!("Delete {}?", argument(&request, "filename"));
            said(&content(
                &input(task.as_ref(), "confirm", &question, "confirm", "boolean").await?,
                "confirm",
            ))
        }
        "multi_input" => {
            let (first, second) = tokio::try_join!(
                input(task.as_ref(), "first", "The first value?", "value", "string"),
                input(task.as_ref(), "second", "The second value?", "value", "string"),
            )?;
            said(&format!("{} and {}", content(&first, "value"), content(&second, "value")))
        }
        _ => {
            rest(Duration::from_millis(200), task.as_ref()).await?;
            said(&format!("Hello, {who}!"))
        }
    };
    Ok(done)
}

/// Waits, unless the task is given up.
async fn rest(time: Duration, task: Option<&TaskContext>) -> Result<(), TaskExit> {
    let cancelled = async {
        match task {
            Some(task) => task.cancelled().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = cancelled => Err(TaskExit::Cancelled),
        () = tokio::time::sleep(time) => Ok(()),
    }
}

/// Asks the client in the middle of a task.
async fn input(
    task: Option<&TaskContext>,
    key: &str,
    question: &str,
    field: &str,
    kind: &str,
) -> Result<Value, TaskExit> {
    let request: InputRequest = wire(one(question, field, kind));
    task.ok_or(TaskExit::Cancelled)?.request_input(key, request).await
}

/// A field of what the client answered, as text.
fn content(answer: &Value, field: &str) -> String {
    match &answer["content"][field] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn argument(request: &CallToolRequestParams, name: &str) -> Value {
    request.arguments.as_ref().and_then(|map| map.get(name)).cloned().unwrap_or_default()
}

fn said(text: &str) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}
