//! Reasons of devices, queues and links.

use super::{
    DropClass::{Expected, Harmful},
    Entry,
};

pub(super) const REASONS: &[Entry] = &[
    (
        "QDISC_DROP",
        Harmful,
        "The queue of the outgoing interface was full or its queueing discipline dropped it.",
    ),
    ("QDISC_OVERLIMIT", Harmful, "The queue of the outgoing interface is full."),
    (
        "QDISC_CONGESTED",
        Expected,
        "The queue has been long for a while, and dropping tells the sender to slow down.",
    ),
    ("QDISC_BURST_DROP", Harmful, "More packets came at once than the queueing discipline takes."),
    (
        "CAKE_FLOOD",
        Harmful,
        "A flow does not slow down, and the queueing discipline (cake) defends the others.",
    ),
    ("FQ_BAND_LIMIT", Harmful, "The priority band of the queueing discipline (fq) is full."),
    (
        "FQ_HORIZON_LIMIT",
        Harmful,
        "It is to be sent further in the future than the queueing discipline (fq) allows.",
    ),
    ("FQ_FLOW_LIMIT", Harmful, "Its flow has too many packets waiting in the queueing discipline (fq)."),
    (
        "DUALPI2_STEP_DROP",
        Expected,
        "The low-latency queue is too long, and dropping tells the sender to slow down.",
    ),
    (
        "CPU_BACKLOG",
        Harmful,
        "Packets arrive faster than a CPU takes them from its queue (net.core.netdev_max_backlog).",
    ),
    ("DEV_HDR", Harmful, "What its device put in front of it is malformed."),
    ("DEV_READY", Harmful, "The interface is down or not ready."),
    ("FULL_RING", Harmful, "The ring to a device or virtual machine is full: it takes packets too slowly."),
    ("TAP_FILTER", Expected, "A filter on the tun or tap device did not want it."),
    ("TAP_TXFILTER", Expected, "The owner of the tap device does not want frames to this address."),
    (
        "MAC_INVALID_SOURCE",
        Harmful,
        "Its sender's hardware address can be nobody's, such as a multicast address.",
    ),
    (
        "LOCAL_MAC",
        Harmful,
        "It came from the network with this machine's own hardware address: there may be a loop.",
    ),
    ("MAC_IEEE_MAC_CONTROL", Expected, "It is for the link itself, such as a pause frame, and ends here."),
    (
        "ARP_PVLAN_DISABLE",
        Expected,
        "It is an ARP reply to its own network, which private VLANs are not set up for.",
    ),
    ("BRIDGE_INGRESS_STP_STATE", Expected, "Spanning tree keeps this port of the bridge closed."),
    ("IPVLAN_MULTICAST_BACKLOG", Harmful, "Too many multicast packets were waiting for the ipvlan devices."),
    ("MACVLAN_BROADCAST_BACKLOG", Harmful, "Too many broadcasts were waiting for the macvlan devices."),
    ("CAN_RX_INVALID_FRAME", Harmful, "A CAN frame is malformed."),
    ("CANFD_RX_INVALID_FRAME", Harmful, "A CAN FD frame is malformed."),
    ("CANXL_RX_INVALID_FRAME", Harmful, "A CAN XL frame is malformed."),
];
