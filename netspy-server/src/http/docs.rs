//! `/docs`: the description of the API as one page, which needs nothing but itself: no script, no network.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::error::Failure;
use super::openapi::DOCUMENT;

/// Nothing may be loaded or run; the style is in the page.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
    h2{margin-top:2.5rem;border-top:1px solid #8886;padding-top:1rem}code{font-size:.92em}\
    table{border-collapse:collapse;width:100%}td{border-top:1px solid #8883;padding:.3rem .8rem .3rem 0;vertical-align:top}\
    td:first-child{white-space:nowrap}@media(prefers-color-scheme:dark){body{background:#161616;color:#ddd}a{color:#8bf}}";

static PAGE: LazyLock<String> = LazyLock::new(|| page(&DOCUMENT));

pub(super) async fn serve() -> Result<Response, Failure> {
    let headers =
        [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, POLICY)];
    Ok((headers, PAGE.as_str()).into_response())
}

fn page(document: &Value) -> String {
    let info = &document["info"];
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>netspy API</title><style>{STYLE}</style></head>\
         <body><h1>netspy {}</h1><p>{}</p><p><a href=\"/openapi.json\">openapi.json</a></p>",
        escaped(&info["version"]),
        marked(&info["description"])
    );
    for (path, operations) in members(&document["paths"]) {
        let verbs: Vec<_> = members(operations).map(|(verb, _)| verb.to_uppercase()).collect();
        let operation = &operations["get"];
        let _ = write!(
            page,
            "<h2><code>{} {}</code></h2><p>{}</p>",
            verbs.join(", "),
            escape(path),
            marked(&operation["summary"])
        );
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        rows(
            &mut page,
            parameters
                .map(|one| (one["name"].as_str().unwrap_or_default(), &one["schema"], &one["description"])),
        );
        for (content, of) in members(&operation["responses"]["200"]["content"]) {
            let schema = if of["x-data"].is_object() { &of["x-data"] } else { &of["schema"] };
            let _ = write!(page, "<p>Answers <code>{}</code>: {}</p>", escape(content), kind(schema));
        }
    }
    for (name, schema) in members(&document["components"]["schemas"]) {
        let name = escape(name);
        let _ = write!(
            page,
            "<h2 id=\"{name}\"><code>{name}</code></h2><p>{}</p>",
            marked(&schema["description"])
        );
        let kinds: Vec<_> = schema["oneOf"].as_array().into_iter().flatten().map(kind).collect();
        let _ = write!(page, "<p>{}</p>", kinds.join(" or "));
        rows(
            &mut page,
            members(&schema["properties"]).map(|(name, schema)| (name, schema, &schema["description"])),
        );
    }
    page.push_str("</body></html>\n");
    page
}

fn rows<'a>(page: &mut String, of: impl Iterator<Item = (&'a str, &'a Value, &'a Value)>) {
    page.push_str("<table>");
    for (name, schema, description) in of {
        let (name, kind) = (escape(name), kind(schema));
        let _ = write!(page, "<tr><td><code>{name}</code><td>{kind}<td>{}", marked(description));
    }
    page.push_str("</table>");
}

/// What a value is, with a link to what is described elsewhere.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        let name = escape(name);
        return format!("<a href=\"#{name}\">{name}</a>");
    }
    let several = schema["oneOf"].as_array().or(schema["anyOf"].as_array());
    if let Some(several) = several {
        return several.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    let types: Vec<_> = match &schema["type"] {
        Value::Array(types) => types.iter().map(escaped).collect(),
        one => vec![escaped(one)],
    };
    let of = match (&schema["items"], &schema["additionalProperties"]) {
        (items @ Value::Object(_), _) | (_, items @ Value::Object(_)) => format!(" of {}", kind(items)),
        _ => String::new(),
    };
    format!("{}{of}", types.join(" or "))
}

fn members(of: &Value) -> impl Iterator<Item = (&str, &Value)> {
    of.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

fn escaped(text: &Value) -> String {
    escape(text.as_str().unwrap_or_default())
}

/// What is between backticks is code.
fn marked(text: &Value) -> String {
    let text = escaped(text);
    let parts = text.split('`').enumerate();
    parts.map(|(n, part)| if n % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() }).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
