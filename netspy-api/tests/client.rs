//! The client against a server that answers, refuses, misbehaves, or is not there.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read as _, Write as _};

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{any, get, post};
use netspy_api::{Client, ClientError, ListRequest, StreamRequest, SummaryRequest, TopRequest};

async fn serve(routes: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    address.to_string()
}

async fn client(routes: Router) -> Client {
    Client::new(&format!("http://{}/", serve(routes).await)).unwrap()
}

#[tokio::test]
async fn summary_is_asked_with_post_and_read() {
    let routes = Router::new().route(
        "/api/connection-summary",
        post(|body: String| async move {
            assert_eq!(body, r#"{"pid":7,"command":"curl","duration_seconds":60}"#);
            r#"{"command":"curl","count":3,"outcomes":null,"lost":{"total":1,"by_place":{"events_ring_full":1}}}"#
        }),
    );
    let request = SummaryRequest {
        pid: Some(7),
        command: Some("curl".into()),
        duration_seconds: Some(60),
        ..SummaryRequest::default()
    };
    let answer = client(routes).await.connection_summary(&request).await.unwrap();
    assert_eq!(answer.count, 3);
    assert_eq!(answer.lost.unwrap().by_place["events_ring_full"], 1);
}

#[tokio::test]
async fn nulls_and_floats_of_the_earlier_server_are_understood() {
    let routes = Router::new().route(
        "/api/list-connections",
        any(|| async {
            r#"{"events_by_pid":{"1":null,"2":[{"pid":2,"command":null,"raw_ipv6":null,"timestamp":3.01539e12}]}}"#
        }),
    );
    let answer = client(routes).await.list_connections(&ListRequest::default()).await.unwrap();
    assert_eq!(answer.events_by_pid.len(), 1);
    assert_eq!(answer.events_by_pid["2"][0].timestamp, 3_015_390_000_000);
    assert_eq!(answer.lost, None);
}

#[tokio::test]
async fn the_first_version_is_read_under_its_own_names() {
    let list = r#"{"total_pids":1,"connections":{"7":[{"pid":7,"timestamp":"2025-07-31T10:00:00Z"}]},"truncated":true}"#;
    let drops = r#"{"total_pids":1,"drops":{"7":[{"pid":7,"drop_reason":"SKB_FREE","timestamp":"2025-07-31T10:00:00Z"}]}}"#;
    let routes = Router::new()
        .route("/api/list-connections", any(move || async move { list }))
        .route("/api/list-packet-drops", any(move || async move { drops }))
        .route("/api/connection-summary", post(|| async { r#"{"total_attempts":5,"duration":60}"# }))
        .route("/api/packet-drop-summary", post(|| async { r#"{"total_drops":2,"duration":60}"# }));
    let client = client(routes).await;
    let list = client.list_connections(&ListRequest::default()).await.unwrap();
    assert_eq!((list.events_by_pid["7"][0].time.as_str(), list.truncated), ("2025-07-31T10:00:00Z", true));
    let drops = client.list_packet_drops(&ListRequest::default()).await.unwrap();
    assert_eq!(drops.events_by_pid["7"][0].drop_reason, "SKB_FREE");
    let summary = client.connection_summary(&SummaryRequest::default()).await.unwrap();
    assert_eq!((summary.count, summary.duration_seconds), (5, 60));
    assert_eq!(client.drop_summary(&SummaryRequest::default()).await.unwrap().count, 2);
}

#[tokio::test]
async fn what_answers_a_stream_with_something_else_is_no_stream() {
    let routes = Router::new().route("/api/stream", get(|| async { "{}" }));
    let client = client(routes).await;
    let error = client.stream(&StreamRequest::default(), None).await.unwrap_err();
    assert!(matches!(error, ClientError::Malformed { .. }) && !error.is_unknown_path(), "{error}");
    let absent = client.top(&TopRequest::default()).await.unwrap_err();
    assert!(absent.is_unknown_path(), "{absent}");
}

#[tokio::test]
async fn a_list_that_takes_only_get_is_asked_again() {
    let routes = Router::new().route(
        "/api/list-packet-drops",
        any(|request: Request| async move {
            if request.method() == Method::POST {
                return (StatusCode::METHOD_NOT_ALLOWED, "Method not allowed\n").into_response();
            }
            assert_eq!(request.uri().query(), Some("pid=4&limit=9"));
            r#"{"events_by_pid":{},"total_events":0}"#.into_response()
        }),
    );
    let request = ListRequest { pid: Some(4), limit: Some(9), ..ListRequest::default() };
    assert!(client(routes).await.list_packet_drops(&request).await.unwrap().events_by_pid.is_empty());
}

#[tokio::test]
async fn credentials_of_the_address_go_as_basic() {
    let routes = Router::new().route(
        "/health",
        get(|headers: HeaderMap| async move {
            assert_eq!(headers["authorization"], "Basic bWU6c2VjcmV0");
            r#"{"status":"healthy"}"#
        }),
    );
    let address = serve(routes).await;
    let client = Client::new(&format!("http://me:secret@{address}")).unwrap();
    assert_eq!(client.health().await.unwrap().status, "healthy");
    assert_eq!(client.address(), format!("http://{address}"));
}

#[tokio::test]
async fn a_token_goes_as_bearer_instead_of_what_the_address_says() {
    let routes = Router::new().route(
        "/health",
        get(|headers: HeaderMap| async move {
            assert_eq!(headers["authorization"], "Bearer netspy_1");
            r#"{"status":"healthy"}"#
        }),
    );
    let address = serve(routes).await;
    let client = Client::new(&format!("http://me:secret@{address}")).unwrap().with_token("netspy_1").unwrap();
    assert_eq!(client.health().await.unwrap().status, "healthy");
    assert!(client.with_token("a\nb").unwrap_err().to_string().contains("token"));
}

#[tokio::test]
async fn a_unix_socket_is_asked_like_any_other_server() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("netspy.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let routes = Router::new().route(
        "/health",
        get(|headers: HeaderMap| async move {
            assert_eq!(headers["host"], "localhost");
            format!(r#"{{"status":"{}"}}"#, headers.contains_key("authorization"))
        }),
    );
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    let client = Client::new(&format!("unix:{}", path.display())).unwrap();
    assert_eq!(client.health().await.unwrap().status, "false");
    assert_eq!(client.with_token("t").unwrap().health().await.unwrap().status, "true");
    let missing = Client::new("unix:/does/not/exist").unwrap().health().await.unwrap_err().to_string();
    assert!(missing.contains("unix:/does/not/exist: no such socket"), "{missing}");
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let routes = Router::new()
        .route(
            "/health",
            get(|| async { (StatusCode::UNAUTHORIZED, r#"{"error":"x","message":"no token"}"#) }),
        )
        .route(
            "/api/programs",
            get(|| async { (StatusCode::SERVICE_UNAVAILABLE, "System not initialized\n") }),
        )
        .route("/api/connection-summary", post(|| async { "<html>" }))
        .route("/api/packet-drop-summary", post(|| async { r#"{"count":"three"}"# }));
    let client = client(routes).await;
    let request = SummaryRequest::default();

    let denied = client.health().await.unwrap_err();
    assert!(matches!(&denied, ClientError::Denied { code: 401, message, .. } if message == "no token"));
    let status = client.programs().await.unwrap_err();
    assert_eq!(status.to_string(), "netspy-server answered 503: System not initialized");
    for odd in [
        client.connection_summary(&request).await.unwrap_err(),
        client.drop_summary(&request).await.unwrap_err(),
    ] {
        assert!(matches!(odd, ClientError::Malformed { .. }), "{odd}");
    }
}

#[tokio::test]
async fn an_absent_server_is_named_with_what_to_do() {
    // Bound and dropped: a port where nobody listens.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let client = Client::new(&format!("http://me:secret@127.0.0.1:{port}")).unwrap();
    assert_eq!(
        client.health().await.unwrap_err().to_string(),
        format!(
            "netspy-server is not reachable at http://127.0.0.1:{port}: connection refused; \
             start it with: sudo netspy-server"
        )
    );
}

#[tokio::test]
async fn an_answer_that_never_ends_is_cut_off() {
    let routes = Router::new().route("/health", get(|| async { vec![b' '; (64 << 20) + 1] }));
    let error = client(routes).await.health().await.unwrap_err();
    assert!(error.to_string().contains("more than 64 MiB"), "{error}");
}

#[tokio::test]
async fn something_that_is_not_http_is_malformed_or_unreachable_not_a_panic() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        stream.writable().await.unwrap();
        stream.try_write(b"SSH-2.0-OpenSSH\r\n").unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    });
    let error = Client::new(&format!("http://{address}")).unwrap().health().await.unwrap_err();
    assert!(matches!(error, ClientError::Malformed { .. }), "{error}");
}

/// A server may cut an idle connection just when the next question is on its way.
#[tokio::test]
async fn a_question_on_a_connection_that_is_cut_is_asked_again() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut request = [0; 4096];
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut request).unwrap() > 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap();
            // Closed while the next question is unread: a reset.
            let _ = stream.peek(&mut request);
        }
    });
    let client = Client::new(&format!("http://{address}")).unwrap();
    for question in 1..=2 {
        client.health().await.unwrap_or_else(|error| panic!("question {question}: {error}"));
    }
}
