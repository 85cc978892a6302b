//! What the official conformance suite wants to find, behind netspy's production HTTP router: most of its scenarios
//! call tools, prompts and resources by fixed names. `cargo xtask test` runs the suite against this program.

#![allow(deprecated, reason = "the suite still asks for what the newest revision dropped")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on fails")]

mod rounds;
mod tasks;
mod tools;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};

use netspy_cli::mcp::http::{Access, router};
use rmcp::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CancelTaskParams, CompleteRequestParams, CompleteResult,
    CompletionInfo, ErrorData, GetPromptRequestParams, GetPromptResponse, GetTaskParams, GetTaskResult,
    Implementation, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
    PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult,
    ServerCapabilities, ServerConfig, SetLevelRequestParams, SubscribeRequestParams, SubscriptionFilter,
    Tool, UnsubscribeRequestParams, UpdateTaskParams,
};
use rmcp::service::{RequestContext, RoleServer, SubscriptionContext, SubscriptionSink};
use rmcp::task_manager::TaskManager;
use serde_json::{Value, json};

/// A PNG of one red pixel.
pub(crate) const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg==";

#[derive(Clone)]
struct Fixture {
    tasks: TaskManager,
    /// Who wants to be told of changes.
    listeners: Arc<Mutex<Vec<SubscriptionSink>>>,
}

type Context = RequestContext<RoleServer>;
type Page = Option<PaginatedRequestParams>;

#[tokio::main]
async fn main() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("Serving MCP at http://{}/mcp", listener.local_addr().unwrap());
    let access = Access::local(NonZeroU32::MAX).with_sessions();
    // One for all sessions: a task outlives the request that began it.
    let fixture = Fixture { tasks: TaskManager::new(), listeners: Arc::default() };
    let routes = router(move || fixture.clone(), access).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, routes).await.unwrap();
}

/// A value of the protocol, written as it goes over the wire.
pub(crate) fn wire<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

impl ServerHandler for Fixture {
    fn get_info(&self) -> ServerConfig {
        let can = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_completions()
            .enable_logging()
            .enable_tasks()
            .build();
        ServerConfig::new(can).with_server_info(Implementation::new("conformance-fixture", "0"))
    }

    /// Nothing ever changes here, but two tools say so.
    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        self.listeners.lock().unwrap().push(context.sink().clone());
        context.cancelled().await;
        Ok(())
    }

    /// The router asks which arguments are also given as headers (SEP-2243).
    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools::list().into_iter().find(|tool| tool.name == name)
    }

    async fn list_tools(&self, _: Page, _: Context) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools::list()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        if request.name.starts_with("test_input_required") {
            return rounds::tool(&request, &context);
        }
        if tasks::TOOLS.iter().any(|(name, _)| request.name == *name) {
            return tasks::call(&self.tasks, &request, &context).await;
        }
        let listeners = self.listeners.lock().unwrap().clone();
        for listener in &listeners {
            // Who has gone needs not be told.
            let _ = match request.name.as_ref() {
                "test_trigger_tool_change" => listener.notify_tool_list_changed().await,
                "test_trigger_prompt_change" => listener.notify_prompt_list_changed().await,
                _ => break,
            };
        }
        tools::call(&request, &context).await
    }

    async fn list_prompts(&self, _: Page, _: Context) -> Result<ListPromptsResult, ErrorData> {
        let named = |name: &str, arguments: &[&str]| {
            let arguments: Vec<_> = arguments
                .iter()
                .map(|name| json!({"name": name, "description": name, "required": true}))
                .collect();
            json!({"name": name, "description": name, "arguments": arguments})
        };
        let prompts = json!([
            named("test_simple_prompt", &[]),
            named("test_prompt_with_arguments", &["arg1", "arg2"]),
            named("test_prompt_with_embedded_resource", &["resourceUri"]),
            named("test_prompt_with_image", &[]),
            named("test_input_required_result_prompt", &[]),
        ]);
        Ok(ListPromptsResult::with_all_items(wire(prompts)))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: Context,
    ) -> Result<GetPromptResponse, ErrorData> {
        let given = |name: &str| {
            let value = request.arguments.as_ref().and_then(|map| map.get(name)).and_then(Value::as_str);
            value.unwrap_or_default().to_owned()
        };
        let says = |text: &str| json!({"type": "text", "text": text});
        let messages = match request.name.as_str() {
            "test_simple_prompt" => vec![says("This is a simple prompt for testing.")],
            "test_prompt_with_arguments" => {
                let (one, two) = (given("arg1"), given("arg2"));
                vec![says(&format!("Prompt with arguments: arg1='{one}', arg2='{two}'"))]
            }
            "test_prompt_with_embedded_resource" => {
                let resource = json!({"uri": given("resourceUri"), "mimeType": "text/plain",
                    "text": "Embedded resource content for testing."});
                let embedded = json!({"type": "resource", "resource": resource});
                vec![embedded, says("Please process the embedded resource above.")]
            }
            "test_prompt_with_image" => {
                let image = json!({"type": "image", "data": PNG, "mimeType": "image/png"});
                vec![image, says("Please analyze the image above.")]
            }
            "test_input_required_result_prompt" => return Ok(rounds::prompt(&request)),
            _ => return Err(ErrorData::invalid_params("no such prompt", None)),
        };
        let messages: Vec<_> =
            messages.into_iter().map(|content| json!({"role": "user", "content": content})).collect();
        Ok(GetPromptResponse::Complete(wire(json!({"resultType": "complete", "messages": messages}))))
    }

    async fn list_resources(&self, _: Page, _: Context) -> Result<ListResourcesResult, ErrorData> {
        let resources = json!([
            {"uri": "test://static-text", "name": "text", "mimeType": "text/plain"},
            {"uri": "test://static-binary", "name": "binary", "mimeType": "image/png"},
            {"uri": "test://watched-resource", "name": "watched", "mimeType": "text/plain"},
        ]);
        Ok(ListResourcesResult::with_all_items(wire(resources)))
    }

    async fn list_resource_templates(
        &self,
        _: Page,
        _: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let template = json!([{"uriTemplate": "test://template/{id}/data", "name": "data"}]);
        Ok(ListResourceTemplatesResult::with_all_items(wire(template)))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = request.uri.as_str();
        let id = uri.strip_prefix("test://template/").and_then(|rest| rest.strip_suffix("/data"));
        let contents = match (uri, id) {
            ("test://static-text" | "test://watched-resource", _) => {
                json!({"uri": uri, "mimeType": "text/plain", "text": "This is the content of the static text resource."})
            }
            ("test://static-binary", _) => json!({"uri": uri, "mimeType": "image/png", "blob": PNG}),
            (_, Some(id)) => {
                let data = json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")});
                json!({"uri": uri, "mimeType": "application/json", "text": data.to_string()})
            }
            _ => return Err(ErrorData::resource_not_found("no such resource", Some(json!({"uri": uri})))),
        };
        Ok(ReadResourceResult::new(vec![wire(contents)]).into())
    }

    async fn complete(&self, _: CompleteRequestParams, _: Context) -> Result<CompleteResult, ErrorData> {
        Ok(CompleteResult::new(CompletionInfo::with_all_values(Vec::new()).unwrap()))
    }

    async fn get_task(&self, request: GetTaskParams, _: Context) -> Result<GetTaskResult, ErrorData> {
        self.tasks.get_task(&request.task_id).map(GetTaskResult::new)
    }

    async fn update_task(&self, request: UpdateTaskParams, _: Context) -> Result<(), ErrorData> {
        self.tasks.update_task(&request.task_id, request.input_responses)
    }

    async fn cancel_task(&self, request: CancelTaskParams, _: Context) -> Result<(), ErrorData> {
        self.tasks.cancel_task(&request.task_id)
    }

    async fn set_level(&self, _: SetLevelRequestParams, _: Context) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn subscribe(&self, _: SubscribeRequestParams, _: Context) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn unsubscribe(&self, _: UnsubscribeRequestParams, _: Context) -> Result<(), ErrorData> {
        Ok(())
    }
}
