//! A filter on events that are at hand: what the store does with rows, for those that are passing by.

use super::{End, Filter, as_kernel_keeps, is_short_id};
use crate::domain::{Attribution, Connection, Direction, Endpoint, Outcome, PacketDrop, Process, Trouble};

impl Filter {
    /// Whether it asks for this connection.
    pub fn matches_connection(&self, connection: &Connection) -> bool {
        let (source, destination) = (connection.source, connection.destination);
        let (local, remote) = match connection.direction {
            Direction::Outbound => (source, destination),
            Direction::Inbound => (destination, source),
        };
        let errno = match connection.outcome {
            Outcome::Failed { errno, .. } => Some(errno),
            _ => None,
        };
        self.reason.is_none()
            && self.packet_direction.is_none()
            && self.direction.is_none_or(|wanted| wanted == connection.direction)
            && (self.verdicts.is_empty() || self.verdicts.contains(&connection.outcome.verdict()))
            && self.errno.is_none_or(|wanted| errno == Some(wanted))
            && self.is_of(connection.wall_ns, Some(&connection.process))
            && self.is_over(connection.protocol, connection.family)
            && self.local.matches(local)
            && self.remote.matches(remote)
    }

    /// Whether it asks for this drop.
    pub fn matches_drop(&self, drop: &PacketDrop) -> bool {
        !self.is_of_connections()
            && self.packet_direction.is_none_or(|wanted| drop.direction == Some(wanted))
            && self.reason.as_ref().is_none_or(|wanted| *wanted == drop.reason)
            && self.is_of(drop.wall_ns, known(drop.owner.as_deref(), drop.attribution))
            && self.is_over(drop.protocol, drop.family)
            && self.has_ends(drop.source, drop.destination)
    }

    /// Whether it asks for this trouble, of whichever kind.
    pub fn matches_trouble(&self, trouble: &Trouble) -> bool {
        !self.is_of_connections()
            && self.packet_direction.is_none()
            && (self.reason.is_none() || self.reason == trouble.reason)
            && self.is_of(trouble.wall_ns, known(trouble.owner.as_deref(), trouble.attribution))
            && self.is_over(libc::IPPROTO_TCP as u8, trouble.family)
            && self.has_ends(trouble.source, trouble.destination)
    }

    fn is_of(&self, wall_ns: i64, process: Option<&Process>) -> bool {
        let owner = process.is_some_and(|process| self.is_by(process));
        (self.window.since_ns..=self.window.until_ns).contains(&wall_ns) && (owner || !self.is_of_somebody())
    }

    fn is_by(&self, process: &Process) -> bool {
        let identity = &process.identity;
        let is_called = |name: &String| {
            let kept = as_kernel_keeps(name);
            [&process.name, &process.comm].iter().any(|own| *own == name || **own == kept)
        };
        let is_in = |container: &String| {
            identity.container_id.as_ref().is_some_and(|id| {
                id == container || (is_short_id(container) && id.starts_with(container.as_str()))
            })
        };
        self.pid.is_none_or(|pid| pid == process.pid)
            && self.uid.is_none_or(|uid| uid == process.uid)
            && self.process.as_ref().is_none_or(is_called)
            && (self.exe.is_none() || self.exe == identity.exe)
            && (self.unit.is_none() || self.unit == identity.unit)
            && self.container.as_ref().is_none_or(is_in)
    }

    fn is_over(&self, protocol: u8, family: u16) -> bool {
        self.protocol.is_none_or(|wanted| wanted == protocol)
            && self.family.is_none_or(|wanted| wanted == family)
    }

    /// Neither end is known to be the local one.
    fn has_ends(&self, source: Option<Endpoint>, destination: Option<Endpoint>) -> bool {
        [&self.local, &self.remote].iter().all(|end| {
            let either =
                |test: fn(&End, Option<Endpoint>) -> bool| test(end, source) || test(end, destination);
            either(End::has_address) && either(End::has_port)
        })
    }
}

impl End {
    fn matches(&self, end: Option<Endpoint>) -> bool {
        self.has_address(end) && self.has_port(end)
    }

    fn has_address(&self, end: Option<Endpoint>) -> bool {
        let Some(network) = self.network else { return true };
        end.is_some_and(|end| network.contains(&end.ip) || network.contains(&end.ip.to_canonical()))
    }

    fn has_port(&self, end: Option<Endpoint>) -> bool {
        let Some(ports) = &self.ports else { return true };
        end.is_some_and(|end| ports.contains(&end.port))
    }
}

fn known(owner: Option<&Process>, attribution: Attribution) -> Option<&Process> {
    owner.filter(|_| attribution != Attribution::None)
}
