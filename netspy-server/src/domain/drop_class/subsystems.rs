//! Reasons of subsystems (`enum skb_drop_reason_subsys`): queueing disciplines and Open vSwitch.

use super::{
    DropClass::{Expected, Harmful, Unclassified},
    Entry,
};

pub(super) const REASONS: &[Entry] = &[
    ("QDISC_DROP_UNSPEC", Unclassified, "The queueing discipline gives no reason."),
    ("QDISC_DROP_GENERIC", Harmful, "The queueing discipline dropped it and gives no closer reason."),
    ("QDISC_DROP_OVERLIMIT", Harmful, "The queue of the outgoing interface is full."),
    (
        "QDISC_DROP_CONGESTED",
        Expected,
        "The queue has been long for a while, and dropping tells the sender to slow down.",
    ),
    ("QDISC_DROP_MAXFLOWS", Harmful, "The queueing discipline follows as many flows as it may."),
    (
        "QDISC_DROP_FLOOD_PROTECTION",
        Harmful,
        "A flow does not slow down, and the others are defended against it.",
    ),
    ("QDISC_DROP_BAND_LIMIT", Harmful, "Its priority band in the queueing discipline is full."),
    ("QDISC_DROP_HORIZON_LIMIT", Harmful, "It is to be sent further in the future than the queue allows."),
    ("QDISC_DROP_FLOW_LIMIT", Harmful, "Its flow has too many packets waiting in the queue."),
    (
        "QDISC_DROP_L4S_STEP_NON_ECN",
        Expected,
        "The low-latency queue is too long, and dropping tells the sender to slow down.",
    ),
    ("OVS_DROP_LAST_ACTION", Unclassified, "The rules of Open vSwitch ended without sending it anywhere."),
    ("OVS_DROP_ACTION_ERROR", Harmful, "An action of Open vSwitch failed."),
    ("OVS_DROP_EXPLICIT", Harmful, "A rule of Open vSwitch dropped it."),
    ("OVS_DROP_EXPLICIT_WITH_ERROR", Harmful, "A rule of Open vSwitch dropped it because of an error."),
    ("OVS_DROP_METER", Harmful, "A meter of Open vSwitch limits this traffic."),
    ("OVS_DROP_RECURSION_LIMIT", Harmful, "The rules of Open vSwitch lead into themselves too often."),
    ("OVS_DROP_DEFERRED_LIMIT", Harmful, "Open vSwitch had put off too many actions."),
    ("OVS_DROP_FRAG_L2_TOO_LONG", Harmful, "Open vSwitch cannot cut it: its link header is too long."),
    ("OVS_DROP_FRAG_INVALID_PROTO", Harmful, "Open vSwitch cannot cut it: it is not IP."),
    ("OVS_DROP_CONNTRACK", Harmful, "Open vSwitch could not track its connection."),
    ("OVS_DROP_IP_TTL", Harmful, "Its time to live ran out in Open vSwitch."),
];
