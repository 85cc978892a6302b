//! The small integers that stand for variants in the file. They never change their meaning: a new variant gets a
//! new number.

use crate::domain::{Attribution, Direction, Ending, PacketDirection, Stage, Verdict};

/// A variant with a number.
pub(super) trait Coded: Sized {
    /// Its number.
    fn code(self) -> u8;
    /// The reverse of [`Coded::code`].
    fn from_code(code: u8) -> Option<Self>;
}

macro_rules! codes {
    ($type:ty { $($variant:ident = $code:literal),+ $(,)? }) => {
        impl Coded for $type {
            fn code(self) -> u8 {
                match self { $(Self::$variant => $code),+ }
            }

            fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

codes!(Direction { Outbound = 0, Inbound = 1 });
codes!(Verdict {
    Pending = 0,
    Established = 1,
    Refused = 2,
    Reset = 3,
    TimedOut = 4,
    Unreachable = 5,
    Aborted = 6,
    Failed = 7,
    Unanswered = 8,
});
codes!(Stage { Route = 0, Bind = 1, Call = 2, Handshake = 3 });
codes!(Ending {
    ClosedLocally = 0,
    ClosedByPeer = 1,
    ResetByPeer = 2,
    ResetLocally = 3,
    TimedOut = 4,
    Idle = 5,
    Failed = 6,
    Unseen = 7,
});
codes!(PacketDirection { Received = 0, Sent = 1, Forwarded = 2 });
codes!(Attribution { None = 0, Socket = 1, Tuple = 2 });

/// Verdicts that fit below a direction in a class.
const VERDICTS: u32 = 16;

/// Direction and verdict of a connection as one number.
pub(super) fn class(direction: Direction, verdict: Verdict) -> u32 {
    u32::from(direction.code()) * VERDICTS + u32::from(verdict.code())
}

/// The reverse of [`class`].
pub(super) fn from_class(class: u32) -> Option<(Direction, Verdict)> {
    let part = |number: u32| u8::try_from(number).ok();
    Some((Direction::from_code(part(class / VERDICTS)?)?, Verdict::from_code(part(class % VERDICTS)?)?))
}

/// The classes of these directions and verdicts; all of them where none is given.
pub(super) fn classes(direction: Option<Direction>, verdicts: &[Verdict]) -> Vec<u32> {
    (0..2 * VERDICTS)
        .filter(|number| {
            from_class(*number).is_some_and(|(begun, became)| {
                direction.is_none_or(|wanted| wanted == begun)
                    && (verdicts.is_empty() || verdicts.contains(&became))
            })
        })
        .collect()
}
