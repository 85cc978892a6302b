//! What a drop reason means: a class, and one plain sentence. A pure table by the kernel's own names, which is
//! complete for the core reasons of Linux 7.2 and those of earlier kernels.
//!
//! A class says what the reason alone can tell. Whether a program or rule dropped what its author wanted to be
//! dropped it cannot: such reasons are harmful where traffic of this machine's processes is blocked, and
//! unclassified where the hook also sees what is not for them.

mod link;
mod network;
mod subsystems;
mod transport;

use DropClass::{Expected, Harmful, Unclassified};

/// Whether a drop matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropClass {
    /// Something did not get through that somebody sent.
    Harmful,
    /// Part of normal operation: nothing is missing.
    Expected,
    /// The reason, or its absence, does not tell.
    Unclassified,
}

impl DropClass {
    /// Its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Harmful => "harmful",
            Self::Expected => "expected",
            Self::Unclassified => "unclassified",
        }
    }
}

/// Reason, class, sentence.
type Entry = (&'static str, DropClass, &'static str);

/// The name that a drop gets from a kernel without reasons.
pub const NO_REASON: &str = "UNCLASSIFIED";

const UNKNOWN: &str = "This netspy has no explanation for this reason: look at the location.";

/// Reasons of mac80211 begin with this, and there are many: what follows says what was wrong with a frame.
const WIRELESS: &str = "RX_DROP";
const WIRELESS_SENTENCE: &str =
    "The wireless stack dropped a frame that it had received, for what its name says.";

/// Class and sentence of a reason, by its name as the API shows it.
pub fn explain(reason: &str) -> (DropClass, &'static str) {
    match entry(reason) {
        Some((_, class, sentence)) => (*class, sentence),
        None if reason.starts_with(WIRELESS) => (Unclassified, WIRELESS_SENTENCE),
        None => (Unclassified, UNKNOWN),
    }
}

/// Whether the table has this reason.
pub fn is_explained(reason: &str) -> bool {
    entry(reason).is_some() || reason.starts_with(WIRELESS)
}

fn entry(reason: &str) -> Option<&'static Entry> {
    all().find(|(name, ..)| *name == reason)
}

fn all() -> impl Iterator<Item = &'static Entry> {
    [GENERAL, network::REASONS, transport::REASONS, link::REASONS, subsystems::REASONS].into_iter().flatten()
}

/// Reasons of no layer in particular.
const GENERAL: &[Entry] = &[
    (
        NO_REASON,
        Unclassified,
        "This kernel does not say why (reasons came with Linux 5.17), and an ordinary free may look like a drop: \
         go by the location.",
    ),
    ("NOT_SPECIFIED", Unclassified, "The kernel code that dropped it gives no reason: go by the location."),
    ("SKB_NOT_DROPPED_YET", Unclassified, "The kernel freed it with a code that means \"not dropped\"."),
    ("SKB_CONSUMED", Expected, "It was used up as usual; nothing is missing."),
    (
        "QUEUE_PURGE",
        Expected,
        "A queue was emptied because its socket or device went away, as at every regular close.",
    ),
    ("NOMEM", Harmful, "The kernel had no memory for it."),
    ("PFMEMALLOC", Harmful, "Memory is so short that only what helps to free some is still received."),
    ("SKB_CSUM", Harmful, "Its checksum could not be computed."),
    ("SKB_GSO_SEG", Harmful, "A large packet could not be cut into segments that fit the link."),
    (
        "SKB_BAD_GSO",
        Harmful,
        "It says of itself how it is to be cut into segments, and that is not possible.",
    ),
    ("SKB_UCOPY_FAULT", Harmful, "Its data could not be copied from the sending process's memory."),
    ("HDR_TRUNC", Harmful, "It ends before its headers do."),
    ("RECURSION_LIMIT", Harmful, "It went through too many stacked devices or tunnels: there may be a loop."),
    ("SECURITY_HOOK", Harmful, "A security module (SELinux, AppArmor, Smack, BPF LSM) did not let it pass."),
    ("SOCKET_FILTER", Expected, "A filter that a program put on its own socket did not want it."),
    ("SOCKET_CLOSE", Expected, "The socket was closed with this still unread in its queue."),
    (
        "SOCKET_RCVBUFF",
        Harmful,
        "The receiving socket's buffer is full: its process reads more slowly than data arrives.",
    ),
    (
        "SOCKET_BACKLOG",
        Harmful,
        "The socket was busy, and what waited for it had already reached the size of its buffers.",
    ),
    ("PROTO_MEM", Harmful, "All sockets of this protocol together use as much memory as they may."),
    (
        "UNIX_DISCONNECT",
        Expected,
        "A datagram socket of this machine turned to another peer with this still unread.",
    ),
    ("UNIX_SKIP_OOB", Expected, "An urgent byte was skipped because its reader went on without it."),
    ("PACKET_SOCK_ERROR", Harmful, "A capturing program could not be given its copy."),
    ("PSP_INPUT", Harmful, "It did not have the encryption (PSP) that its connection demands."),
    ("PSP_OUTPUT", Harmful, "It could not be given the encryption (PSP) that its connection demands."),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// `enum skb_drop_reason` of Linux 7.2.
    const LINUX_7_2: &str = include_str!("drop_class/linux-7.2.txt");

    #[test]
    fn every_core_reason_of_the_newest_kernel_is_explained() {
        let missing: Vec<_> = LINUX_7_2.lines().filter(|name| !is_explained(name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
        assert!(LINUX_7_2.lines().count() > 100);
    }

    #[test]
    fn every_reason_stands_once_and_has_one_sentence() {
        let mut seen = BTreeSet::new();
        for (name, _, sentence) in all() {
            assert!(seen.insert(name), "{name} stands twice");
            let is_one = sentence.ends_with('.') && !sentence.trim_end_matches('.').contains(". ");
            assert!(is_one && sentence.len() < 160, "{name}: {sentence:?}");
        }
    }

    #[test]
    fn a_close_is_expected_and_an_unknown_reason_is_not_judged() {
        assert_eq!(explain("QUEUE_PURGE").0, Expected);
        assert_eq!(explain("NETFILTER_DROP").0, Harmful);
        assert_eq!(explain(NO_REASON).0, Unclassified);
        assert_eq!(explain("MAC80211_UNUSABLE(7)"), (Unclassified, UNKNOWN));
    }
}
