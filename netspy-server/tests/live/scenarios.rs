//! The table. A row acts, asks the server, and compares every fact with what the actor itself saw.

mod connects;
mod datagrams;
mod drops;
mod existing;
mod failures;
mod floods;
mod identity;
mod ledger;
mod lifecycle;
mod trouble;
mod unix;
mod whole_server;

use std::{
    net::{SocketAddr, TcpListener, UdpSocket},
    thread,
};

use netspy_api::ConnectionEvent;

use crate::{
    actor::{Actor, Attempt, Part},
    server::{connections_of, rung},
};

pub use datagrams::begin_idle_flow;
pub use existing::after_a_loss;
pub use failures::locked_down;
pub use ledger::{full_drops_ring, missed_returns, skipped_programs, too_many_calls};
pub use lifecycle::ten_thousand;
pub use whole_server::full_rings;

/// Name and body of each scenario that may go another way on another rung.
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
    ("ipv6_connect_to_a_link_local_address_names_its_interface", connects::link_local),
    ("v4_mapped_connect_is_one_event", connects::v4_mapped),
    ("v4_mapped_connect_is_refused_once", connects::v4_mapped_refused),
    ("a_connection_closed_here_has_its_bytes_and_duration_at_both_ends", lifecycle::closed_locally),
    ("a_connection_closed_by_its_peer_over_ipv6", lifecycle::closed_by_peer_over_ipv6),
    ("a_connection_reset_by_its_peer", lifecycle::reset_by_peer),
    ("a_connection_reset_here", lifecycle::reset_locally),
    ("a_connection_that_falls_silent_times_out", lifecycle::timed_out_after_it_was_established),
    ("a_connection_never_accepted_is_its_listeners", lifecycle::never_accepted),
    ("a_connection_accepted_by_a_worker_is_the_workers", lifecycle::accepted_by_another_process),
    ("a_multipath_connection_is_one_at_each_end", lifecycle::multipath),
    ("a_fast_open_connection_counts_its_early_bytes", lifecycle::fast_open),
    ("connections_from_before_the_server_are_found_and_their_end_is_seen", existing::connections),
    ("listeners_from_before_the_server_are_found_with_their_queues", existing::listeners),
    ("short_lived_processes_are_all_there", connects::short_lived),
    ("a_thread_with_its_own_name_is_found_by_both_names", connects::named_thread),
    ("a_hostile_name_is_data", connects::hostile_name),
    ("a_socket_that_tries_again_is_two_events", connects::several_attempts),
    ("unix_connect_by_path_has_its_peer", unix::by_path),
    ("unix_connection_closed_by_its_peer", unix::closed_by_peer),
    ("unix_socket_that_changes_its_peer_is_two_connections", unix::another_peer),
    ("unix_connections_from_before_the_server_have_an_end", existing::unix_connections),
    ("unix_names_of_108_bytes_are_whole", unix::longest_names),
    ("unix_abstract_name_is_data", unix::abstract_name),
    ("unix_connect_to_a_missing_path_fails", unix::missing),
    ("unix_connect_to_a_path_nobody_listens_on_is_refused", unix::nobody_listens),
    ("unix_connect_without_permission_fails", unix::forbidden),
    ("unix_connect_to_a_full_backlog_fails", unix::full_backlog),
    ("udp_connected_flow_is_counted", datagrams::connected),
    ("udp_connected_flow_is_counted_by_ipv6", datagrams::connected_v6),
    ("udp_empty_datagram_that_is_peeked_at_is_counted_once", datagrams::empty_is_peeked_at),
    ("udp_flow_to_a_v4_mapped_address_is_one", datagrams::v4_mapped),
    ("udp_flow_without_connect_is_counted", datagrams::unconnected),
    ("udp_flow_that_is_open_is_counted", datagrams::open_flow),
    ("udp_flow_that_the_peer_began_is_inbound", datagrams::inbound),
    ("udp_flow_to_a_closed_port_is_refused_if_connected", datagrams::refused),
    ("udp_flow_without_an_answer_is_unanswered", datagrams::unanswered),
    ("udp_connect_without_a_route_is_unreachable", datagrams::unreachable),
    ("udp_connect_that_is_never_used_is_one_event", datagrams::unused),
    ("udp_flows_of_many_processes_have_their_owners", datagrams::many),
    ("udp_flow_to_a_link_local_address_names_its_interface", datagrams::link_local),
    ("udp_datagram_dropped_by_a_rule_has_its_owner", datagrams::dropped_on_its_way_out),
    ("icmp_echo_and_raw_sockets_are_flows", datagrams::ping_and_raw),
    ("udp_flow_that_falls_silent_is_idle", datagrams::idle),
    ("a_segment_to_a_closed_port_is_dropped", drops::drop_to_closed_tcp_port),
    ("a_datagram_to_a_closed_port_is_dropped", drops::drop_to_closed_udp_port),
    ("an_ipv6_datagram_to_a_closed_port_is_dropped", drops::drop_to_closed_udp_port_v6),
    ("a_packet_dropped_by_a_rule_on_its_way_out_has_its_owner", drops::drop_by_output_rule),
    ("a_packet_dropped_by_a_rule_on_its_way_in_has_no_wrong_owner", drops::drop_by_input_rule),
    ("an_abort_is_a_reset_with_its_owner_at_both_ends", trouble::aborted),
    ("a_refusal_is_a_reset_received_and_sent_by_nobody", trouble::refused),
    ("a_segment_that_is_sent_again_is_counted_one_by_one", trouble::retransmitted),
    ("a_full_listen_queue_names_its_listener", trouble::overflow),
    ("a_full_listen_queue_over_ipv6", trouble::overflow_over_ipv6),
    ("the_programs_own_words_are_in_the_log_only_when_asked_for", whole_server::programs_log),
    ("every_event_is_checked_and_every_refusal_has_a_remedy", failures::every_event_is_checked),
    ("the_servers_own_traffic_at_start_leaves_no_trace", failures::canary_leaves_no_trace),
    ("without_privileges_it_says_what_is_lacking", failures::no_privileges),
    ("without_tracefs_only_what_needs_it_is_lost", failures::no_tracefs),
    ("a_function_that_is_gone_is_named", failures::no_such_function),
    ("sockets_that_do_not_fit_are_counted", ledger::too_many_sockets),
    ("unix_sockets_that_do_not_fit_are_counted", ledger::too_many_unix_sockets),
    ("datagrams_of_flows_that_do_not_fit_are_counted", ledger::too_many_flows),
];

/// More of them, about what does not depend on the rung: the programs and the server do the same on each.
pub const ON_ANY_RUNG: &[(&str, fn())] = &[
    ("a_process_that_lives_2_ms_is_known_with_its_parent", identity::brief_lives),
    ("a_child_that_executes_nothing_runs_what_its_parent_runs", identity::forked_without_exec),
    ("a_process_that_executes_something_else_is_both_in_turn", identity::executed_in_place),
    ("a_pid_that_is_reused_never_mixes_two_processes", identity::reused_pid),
    ("a_process_in_a_cgroup_has_its_unit_container_and_pod", identity::in_a_cgroup),
    ("hostile_arguments_are_data", identity::hostile_arguments),
    ("secrets_in_arguments_are_kept_out_when_asked", identity::redacted_arguments),
    ("a_packet_dropped_while_it_was_forwarded_says_so", drops::drop_while_forwarded),
    ("every_reason_of_this_kernel_has_a_class_and_a_sentence", drops::reasons),
    ("a_recording_replays_to_the_same_answers", whole_server::recording),
    ("a_flood_of_drops_is_counted_to_the_last_one", floods::datagrams),
    ("a_flood_of_resets_is_counted_to_the_last_one", floods::resets),
    ("servers_that_start_at_once_check_what_they_did_themselves", failures::several_at_once),
    ("without_types_it_says_so", failures::no_types),
    ("damaged_types_are_refused", failures::damaged_types),
    ("wrong_types_are_noticed", failures::wrong_types),
    ("what_is_known_to_be_wrong_is_not_served", failures::wrong_data_is_not_served),
    ("without_a_loopback_nothing_is_checked_and_that_is_said", failures::no_loopback),
    ("what_the_store_cannot_write_is_counted", ledger::store_without_room),
    ("what_is_damaged_in_a_recording_is_counted", ledger::damaged_recording),
];

/// A port on which nobody listens, and that no UDP socket has.
fn closed_port(any: &str) -> String {
    loop {
        let at = TcpListener::bind(any).unwrap().local_addr().unwrap();
        if UdpSocket::bind(at).is_ok() {
            return at.to_string();
        }
    }
}

/// Where this process lets in a crowd, and hangs up. The standard library's queue of 128 would overflow: some would try
/// again a second later.
fn open_door() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 4_096).unwrap();
    let at = listener.local_addr().unwrap();
    thread::spawn(move || while listener.accept().is_ok() {});
    at
}

/// A part that connects to `to`. Starting it makes sure that the server is already watching.
fn acting(name: &str, to: &str) -> Part {
    rung();
    Part { name: name.to_owned(), to: to.to_owned(), ..Part::default() }
}

/// nft commands that make a rule for port 81 at a hook.
pub fn drop_rule(hook: &str) -> Vec<String> {
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
    assert!(event.cmdline.as_deref().unwrap().contains("act-"), "{:?}", event.cmdline);
    assert_eq!(event.parents[0].pid, std::process::id());
    let to: SocketAddr = part.to.parse().unwrap();
    assert_eq!(event.destination, SocketAddr::new(to.ip().to_canonical(), to.port()).to_string());
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
