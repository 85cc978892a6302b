//! What the API says of itself.

use std::path::Path;

use serde_json::Value;

use super::server::{Server, sample};

/// The copy that people and programs read without a server.
const COPY: &str = "../docs/openapi.json";

#[test]
fn the_description_is_the_one_in_the_repository() {
    let mut served = Server::empty().get("/openapi.json");
    // Their order depends on which features other crates of the same build want.
    served.sort_all_objects();
    let text = serde_json::to_string_pretty(&served).unwrap() + "\n";
    let copy = Path::new(env!("CARGO_MANIFEST_DIR")).join(COPY);
    if std::env::var_os("NETSPY_WRITE").is_some() {
        std::fs::write(&copy, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&copy).unwrap();
    let differs = kept.lines().zip(text.lines()).find(|(kept, served)| kept != served);
    assert!(
        kept == text,
        "docs/openapi.json is not what the server says, first at {differs:?}: read the difference, and write it with \
         NETSPY_WRITE=1 cargo nextest run -p netspy-server the_description"
    );
}

#[test]
fn each_endpoint_answers_as_it_is_described() {
    let server = Server::with(&sample());
    let document = server.get("/openapi.json");
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 16);
    for (path, operations) in paths {
        for (verb, operation) in operations.as_object().unwrap() {
            let content =
                operation["responses"]["200"]["content"].as_object().unwrap().keys().next().unwrap();
            let answer = server.request(&verb.to_uppercase(), &format!("{path}?until=0s"), "", b"");
            assert_eq!(answer.status, 200, "{verb} {path}: {}", answer.body);
            let is = answer.header("content-type").unwrap();
            assert_eq!(is.split(';').next().unwrap(), content, "{verb} {path}");
        }
        let allowed = server.request("PATCH", path, "", b"");
        let verbs: Vec<_> = operations.as_object().unwrap().keys().map(|verb| verb.to_uppercase()).collect();
        let allow = allowed.header("allow").unwrap().replace(",HEAD", "");
        assert_eq!(allow, verbs.join(","), "{path}");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn check(value: &Value, document: &Value) {
        if let Some(reference) = value["$ref"].as_str() {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        let values: Vec<_> = match value {
            Value::Object(members) => members.values().collect(),
            Value::Array(values) => values.iter().collect(),
            _ => return,
        };
        for value in values {
            check(value, document);
        }
    }
    let document = Server::empty().get("/openapi.json");
    check(&document, &document);
}

#[test]
fn the_page_needs_nothing_but_itself() {
    let server = Server::empty();
    let page = server.request("GET", "/docs", "", b"");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    for foreign in ["<script", "<link", "<img", "src=", "http:", "https:"] {
        assert!(!page.body.contains(foreign), "{foreign}");
    }
    for known in ["GET, POST /api/list-connections", "drop_reason", "id=\"EventList\"", "href=\"#EventList\""]
    {
        assert!(page.body.contains(known), "{known}");
    }
    assert_eq!(server.request("GET", "/docs/", "", b"").body, page.body);
    assert!(page.body.len() < 200_000, "{} bytes", page.body.len());
}
