//! The description of the API (`OpenAPI` 3.1), made from the endpoints and from netspy-api's types.

use std::{collections::BTreeMap, sync::LazyLock};

use axum::response::Response;
use netspy_api::ErrorBody;
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::endpoints::{self, Answers, Describe, Endpoint};
use super::error::{CONTENT_TYPE, Failure};
use super::render;

/// The same for every request.
pub(super) static DOCUMENT: LazyLock<Value> = LazyLock::new(document);

pub(super) async fn serve() -> Result<Response, Failure> {
    render::json(&*DOCUMENT)
}

fn document() -> Value {
    let settings = || {
        SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        })
    };
    let mut answers = settings().for_serialize().into_generator();
    let mut requests = settings().into_generator();
    let problem = answers.subschema_for::<ErrorBody>();
    let mut paths = Map::new();
    for endpoint in endpoints::all() {
        let responses = responses(&endpoint, &mut answers, &problem);
        let takes = endpoint.takes.map(|(describe, but)| parameters(describe, but, &mut requests));
        let mut operations = Map::new();
        for method in endpoint.methods {
            let mut operation = json!({
                "operationId": operation_id(method, endpoint.path),
                "summary": endpoint.summary,
                "responses": responses,
            });
            match (&takes, *method) {
                (Some(schema), "get") => operation["parameters"] = in_query(schema),
                (Some(schema), _) => {
                    operation["requestBody"] = json!({"content": {"application/json": {"schema": schema}}});
                }
                (None, _) => {}
            }
            operations.insert((*method).to_owned(), operation);
        }
        paths.insert(endpoint.path.to_owned(), operations.into());
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "netspy",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Which process talks to whom, what fails and what is dropped, from the kernel of one machine. \
                Parameters go into the query string of a GET or, as the members of a JSON object, into the body of a \
                POST. All given conditions must hold. `lost` says what an answer is missing.",
            "license": {"name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE")},
        },
        "paths": paths,
        "components": {"schemas": answers.take_definitions(true)},
    })
}

/// `GET /api/list-connections` → `get_list_connections`.
fn operation_id(method: &str, path: &str) -> String {
    let name = path.trim_start_matches('/').trim_start_matches("api/");
    let name = if name.is_empty() { "index" } else { name };
    format!("{method}_{}", name.replace(['-', '/', '.'], "_"))
}

fn responses(endpoint: &Endpoint, generator: &mut SchemaGenerator, problem: &Schema) -> Value {
    let content = match &endpoint.answers {
        Answers::Json(describe) => json!({"application/json": {"schema": describe(generator)}}),
        Answers::Events(data) => {
            let data = data.map(|describe| describe(generator));
            json!({"text/event-stream": {"schema": {"type": "string"}, "x-data": {"oneOf": data}}})
        }
        Answers::Text(of) => json!({(*of): {"schema": {"type": "string"}}}),
    };
    let answer = json!({"description": "The answer.", "content": content});
    let mut responses = json!({
        "200": answer,
        "default": {
            "description": "Why there is no answer, and what to do.",
            "content": {(CONTENT_TYPE): {"schema": problem}},
        },
    });
    if let Some(status) = endpoint.also {
        responses[status.to_string()] = answer;
    }
    responses
}

/// Its schema, without the parameters that the endpoint refuses.
fn parameters(describe: Describe, but: &[&str], generator: &mut SchemaGenerator) -> Value {
    let referred = describe(generator);
    let name = referred.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
    let mut schema = name.and_then(|name| generator.definitions().get(name)).cloned().unwrap_or_default();
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.retain(|name, _| !but.contains(&name.as_str()));
    }
    schema
}

/// Each property as a parameter, by name. What is not given is absent there: it needs no null.
fn in_query(schema: &Value) -> Value {
    let properties: BTreeMap<_, _> = schema["properties"].as_object().into_iter().flatten().collect();
    let parameters = properties.into_iter().map(|(name, schema)| {
        let mut schema = schema.clone();
        let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        if let Some(types) = schema["type"].as_array_mut() {
            types.retain(|name| name != "null");
            if let [one] = &types[..] {
                schema["type"] = one.clone();
            }
        }
        json!({"name": name, "in": "query", "description": description, "schema": schema})
    });
    parameters.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::params::KNOWN;

    #[test]
    fn every_parameter_that_is_read_is_described_and_no_other() {
        let operations = DOCUMENT["paths"]
            .as_object()
            .unwrap()
            .values()
            .filter_map(|path| path["get"]["parameters"].as_array());
        let described: BTreeSet<_> = operations.flatten().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(described, KNOWN.into_iter().collect());
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let paths = DOCUMENT["paths"].as_object().unwrap().values();
        let ids: Vec<_> = paths
            .flat_map(|path| path.as_object().unwrap().values())
            .map(|operation| operation["operationId"].as_str().unwrap())
            .collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
        assert!(ids.contains(&"post_list_connections") && ids.contains(&"get_index"));
    }
}
