//! JSON Schemas as strict clients like them: one self-contained object, no `$ref`, no Rust number formats.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// The schema of the arguments that one tool takes of a vocabulary.
pub(super) fn of_input<T: JsonSchema>(takes: &[&str], required: &[&str]) -> Map<String, Value> {
    let mut vocabulary = of::<T>(SchemaSettings::draft2020_12());
    let mut properties = Map::new();
    if let Some(Value::Object(all)) = vocabulary.get_mut("properties") {
        properties.extend(takes.iter().filter_map(|name| all.remove_entry(*name)));
    }
    for property in properties.values_mut().filter_map(Value::as_object_mut) {
        // What is unsaid is said in words; a default of "" or 0 would only look like a value.
        property.remove("default");
    }
    let mut schema = Map::new();
    schema.insert("type".to_owned(), json!("object"));
    schema.insert("properties".to_owned(), Value::Object(properties));
    if !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
    schema.insert("additionalProperties".to_owned(), json!(false));
    schema
}

/// The schema of an answer: members that are left out only sometimes are not promised.
pub(super) fn of_output<T: JsonSchema>() -> Map<String, Value> {
    let mut schema = of::<T>(SchemaSettings::draft2020_12().for_serialize());
    schema.remove("description");
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for (name, property) in properties {
            let described =
                property.get("description").cloned().filter(|_| !EXPLAINED.contains(&name.as_str()));
            forget(property);
            if let (Value::Object(property), Some(described)) = (property, described) {
                property.insert("description".to_owned(), described);
            }
        }
    }
    schema
}

/// What every answer has, and the server's instructions explain once.
const EXPLAINED: [&str; 6] = ["lost", "notes", "did_you_mean", "query_time", "shown", "truncated"];

/// Below the first level names speak for themselves; a model reads every word of every schema before it asks.
fn forget(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            for keyword in ["description", "default"] {
                // Under `properties` it would be the name of a member, which is an object.
                if map.get(keyword).is_some_and(|value| keyword == "default" || value.is_string()) {
                    map.remove(keyword);
                }
            }
            map.values_mut().for_each(forget);
        }
        Value::Array(list) => list.iter_mut().for_each(forget),
        _ => {}
    }
}

fn of<T: JsonSchema>(settings: SchemaSettings) -> Map<String, Value> {
    let settings = settings.with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    strip(&mut schema);
    match schema {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// `uint32` and the like are no formats that JSON Schema knows, a Rust type's name tells a reader nothing, and
/// that a count is not below 0 goes without saying. Only keywords are looked at: under `properties` the keys are names.
fn strip(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    for keyword in ["format", "title", "minimum"] {
        map.remove(keyword);
    }
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        properties.values_mut().for_each(strip);
    }
    if let Some(Value::Array(choices)) = map.get_mut("anyOf") {
        choices.iter_mut().for_each(strip);
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(inner) = map.get_mut(keyword) {
            strip(inner);
        }
    }
}
