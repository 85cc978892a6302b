//! The table. A row acts, asks the server, and compares every fact with what the actor itself saw.

mod connects;
mod drops;
mod whole_server;

use std::net::TcpListener;

use netspy_api::ConnectionEvent;

use crate::{
    actor::{Actor, Attempt, Part},
    server::{connections_of, rung},
};

pub use whole_server::full_rings;

/// Name and body of each scenario.
pub const TABLE: &[(&str, fn())] = &[
    ("connect_is_established_with_its_latency", connects::established),
    ("connect_to_a_closed_port_is_refused", connects::refused),
    ("connect_from_a_bound_port_keeps_it", connects::refused_from_a_bound_port),
    ("connect_without_a_route_is_unreachable", connects::unreachable),
    ("connect_to_a_host_that_is_not_there_is_unreachable", connects::no_such_host),
    ("connect_without_a_free_port_fails_at_bind", connects::no_free_port),
    ("connect_that_nobody_answers_times_out", connects::timed_out),
    ("non_blocking_connect_is_established", connects::non_blocking),
    ("non_blocking_connect_is_refused", connects::non_blocking_refused),
    ("non_blocking_connect_given_up_is_aborted", connects::aborted),
    ("ipv6_connect_is_established", connects::ipv6),
    ("ipv6_connect_is_refused", connects::ipv6_refused),
    ("v4_mapped_connect_is_one_event", connects::v4_mapped),
    ("v4_mapped_connect_is_refused_once", connects::v4_mapped_refused),
    ("short_lived_processes_are_all_there", connects::short_lived),
    ("a_thread_with_its_own_name_is_found_by_both_names", connects::named_thread),
    ("a_hostile_name_is_data", connects::hostile_name),
    ("a_socket_that_tries_again_is_two_events", connects::several_attempts),
    ("a_segment_to_a_closed_port_is_dropped", drops::drop_to_closed_tcp_port),
    ("a_datagram_to_a_closed_port_is_dropped", drops::drop_to_closed_udp_port),
    ("an_ipv6_datagram_to_a_closed_port_is_dropped", drops::drop_to_closed_udp_port_v6),
    ("a_packet_dropped_by_a_rule_on_its_way_out_has_its_owner", drops::drop_by_output_rule),
    ("a_packet_dropped_by_a_rule_on_its_way_in_has_no_wrong_owner", drops::drop_by_input_rule),
    ("a_recording_replays_to_the_same_answers", whole_server::recording),
    ("the_programs_own_words_are_in_the_log_only_when_asked_for", whole_server::programs_log),
];

/// A port on which nobody listens.
fn closed_port(any: &str) -> String {
    TcpListener::bind(any).unwrap().local_addr().unwrap().to_string()
}

/// A part that connects to `to`. Starting it makes sure that the server is already watching.
fn acting(name: &str, to: &str) -> Part {
    rung();
    Part { name: name.to_owned(), to: to.to_owned(), ..Part::default() }
}

/// nft commands that make a rule for port 81 at a hook.
fn drop_rule(hook: &str) -> Vec<String> {
    vec![
        "nft add table inet t".to_owned(),
        format!("nft add chain inet t c '{{ type filter hook {hook} priority 0; }}'"),
        "nft add rule inet t c tcp dport 81 drop".to_owned(),
    ]
}

/// The one connection of an actor, checked against everything that the actor knows about itself.
fn only_connection(actor: &Actor, part: &Part) -> ConnectionEvent {
    let events = connections_of(actor.report.pid);
    assert_eq!(events.len(), 1, "{events:#?}");
    check(&events[0], actor, part, actor.attempt());
    events.into_iter().next().unwrap()
}

fn check(event: &ConnectionEvent, actor: &Actor, part: &Part, attempt: &Attempt) {
    let report = &actor.report;
    assert_eq!((event.pid, event.tid, event.uid), (report.pid, report.tid, report.uid));
    assert_eq!(event.process, part.name);
    assert_eq!(&event.command, part.thread.as_ref().unwrap_or(&part.name));
    assert_eq!(event.netns, Some(report.netns));
    assert_eq!(event.exe.as_deref(), std::env::current_exe().unwrap().to_str());
    let to: std::net::SocketAddr = part.to.parse().unwrap();
    assert_eq!(event.destination, std::net::SocketAddr::new(to.ip().to_canonical(), to.port()).to_string());
    assert_eq!(event.destination_port, to.port());
    assert_eq!(event.protocol, "TCP");
    assert_eq!(event.direction, "outbound");
    if attempt.source.is_some() {
        assert_eq!(event.source, attempt.source);
    }
}

fn assert_established(event: &ConnectionEvent, attempt: &Attempt) {
    assert_eq!(event.outcome, "established");
    assert_eq!((event.errno, event.return_code, &event.stage), (None, 0, &None));
    let latency = event.latency_us.unwrap();
    assert!(latency <= attempt.took_us + 1, "{latency} µs, but the caller waited {} µs", attempt.took_us);
    assert!(attempt.source.is_some());
}

fn assert_failed(event: &ConnectionEvent, outcome: &str, stage: &str, errno: i32, name: &str) {
    assert_eq!(event.outcome, outcome, "{event:#?}");
    assert_eq!(event.stage.as_deref(), Some(stage));
    assert_eq!(event.errno, Some(errno.unsigned_abs()));
    assert_eq!(event.errno_name.as_deref(), Some(name));
    assert_eq!(event.return_code, -errno);
}
