//! Reasons of TCP and UDP.

use super::{
    DropClass::{Expected, Harmful},
    Entry,
};

pub(super) const REASONS: &[Entry] = &[
    ("TCP_CSUM", Harmful, "A TCP segment was damaged on the way (checksum)."),
    ("UDP_CSUM", Harmful, "A UDP datagram was damaged on the way (checksum)."),
    ("TCP_AUTH_HDR", Harmful, "Its TCP authentication option is malformed or stands there twice."),
    ("TCP_MD5NOTFOUND", Harmful, "This connection demands a TCP-MD5 signature, and there was none."),
    ("TCP_MD5UNEXPECTED", Harmful, "It has a TCP-MD5 signature that this connection was not set up for."),
    ("TCP_MD5FAILURE", Harmful, "Its TCP-MD5 signature is wrong: the keys of the two ends differ."),
    ("TCP_AONOTFOUND", Harmful, "This connection demands TCP authentication (TCP-AO), and there was none."),
    ("TCP_AOUNEXPECTED", Harmful, "It is authenticated (TCP-AO), which this connection was not set up for."),
    ("TCP_AOKEYNOTFOUND", Harmful, "It is authenticated (TCP-AO) with a key that is not known here."),
    ("TCP_AOFAILURE", Harmful, "Its TCP authentication (TCP-AO) is wrong: the keys of the two ends differ."),
    ("TCP_FLAGS", Harmful, "Its TCP flags make no sense in the state that the connection is in."),
    (
        "TCP_ABORT_ON_DATA",
        Harmful,
        "Data arrived for a connection that its process had already closed: the peer gets a RST.",
    ),
    (
        "TCP_ZEROWINDOW",
        Harmful,
        "The peer sent more although the receive buffer is full: the process does not read fast enough.",
    ),
    ("TCP_OLD_DATA", Expected, "All of its data had already arrived: the peer sent it again needlessly."),
    ("TCP_OVERWINDOW", Harmful, "It holds more data than the receiver had said it would take."),
    ("TCP_OFOMERGE", Expected, "Its data was already in the queue of what came out of order."),
    ("TCP_RFC7323_PAWS", Expected, "Its timestamp is older than one already seen: a late duplicate."),
    (
        "TCP_RFC7323_PAWS_ACK",
        Expected,
        "An acknowledgement with an old timestamp came late and out of order.",
    ),
    ("TCP_RFC7323_TW_PAWS", Harmful, "A SYN with an old timestamp hit a connection in TIME-WAIT."),
    ("TCP_RFC7323_TSECR", Harmful, "It echoes a timestamp that was never sent."),
    (
        "TCP_LISTEN_OVERFLOW",
        Harmful,
        "The listener's queue is full: its process accepts more slowly than connections arrive.",
    ),
    ("TCP_OLD_SEQUENCE", Expected, "Its sequence number is one that has passed: a duplicate."),
    ("TCP_INVALID_SEQUENCE", Harmful, "Its sequence number is outside of what the receiver expects."),
    ("TCP_INVALID_END_SEQUENCE", Harmful, "It ends beyond what the receiver expects."),
    ("TCP_INVALID_ACK_SEQUENCE", Harmful, "It acknowledges what this handshake never sent."),
    ("TCP_RESET", Expected, "The peer reset the connection, and this is the RST itself."),
    ("TCP_INVALID_SYN", Harmful, "A SYN came in the middle of a connection."),
    ("TCP_CLOSE", Expected, "Its connection was already closed."),
    ("TCP_FASTOPEN", Expected, "It repeats what a TCP Fast Open handshake already has."),
    ("TCP_OLD_ACK", Expected, "It acknowledges what had already been acknowledged."),
    (
        "TCP_TOO_OLD_ACK",
        Harmful,
        "Its acknowledgement is so old that it may be an attack or from a past connection.",
    ),
    ("TCP_ACK_UNSENT_DATA", Harmful, "It acknowledges data that was never sent."),
    (
        "TCP_OFO_QUEUE_PRUNE",
        Harmful,
        "The receive buffer is full, so data that had come out of order was given up; the peer must send it again.",
    ),
    ("TCP_OFO_DROP", Expected, "Its data was already in the receive queue."),
    ("TCP_MINTTL", Harmful, "It came from further away than its socket allows (IP_MINTTL)."),
];
