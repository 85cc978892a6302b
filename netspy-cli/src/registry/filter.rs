//! The conditions of a question in the words of the API: the server applies them, before it counts and before it
//! cuts a list to its page.

use netspy_api::{Conditions, StreamRequest, TopRequest};

use super::question::Question;
use crate::render::connection;

/// Of connections.
pub(super) fn of_connections(question: &Question) -> Conditions {
    let direction = question.direction.map(|direction| direction.name().to_owned());
    Conditions { direction, outcome: failures(question), ..of_drops(question) }
}

/// Of dropped packets, all of which are failures.
pub(super) fn of_drops(question: &Question) -> Conditions {
    Conditions {
        remote: question.to.map(|net| net.to_string()),
        remote_port: (question.port != 0).then(|| question.port.to_string()),
        ..Conditions::default()
    }
}

/// Connections as they happen.
pub(crate) fn of_stream(question: &Question) -> StreamRequest {
    StreamRequest {
        event_type: Some("connection".to_owned()),
        pid: pid(question),
        command: name(question),
        conditions: of_connections(question),
        ..StreamRequest::default()
    }
}

/// What the server's sums can be asked; none where they do not know a condition.
pub(super) fn of_sums(question: &Question) -> Option<TopRequest> {
    let Question { pid: 0, to: None, port: 0, .. } = question else { return None };
    Some(TopRequest {
        process: name(question),
        direction: question.direction.map(|direction| direction.name().to_owned()),
        outcome: failures(question),
        duration_seconds: question.seconds_back().map(i64::from),
        since: question.moment().map(|moment| moment.to_string()),
        ..TopRequest::default()
    })
}

pub(super) fn pid(question: &Question) -> Option<u32> {
    Some(question.pid).filter(|pid| *pid != 0)
}

pub(super) fn name(question: &Question) -> Option<String> {
    Some(question.process_name.clone()).filter(|name| !name.is_empty())
}

fn failures(question: &Question) -> Option<String> {
    question.failed.then(connection::failures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::question::Direction;

    #[test]
    fn every_condition_is_the_servers_to_apply() {
        let question = Question {
            pid: 7,
            process_name: "curl".to_owned(),
            to: "10.0.0.0/8".parse().ok(),
            port: 443,
            failed: true,
            direction: Some(Direction::Inbound),
            ..Question::default()
        };
        let asked = of_stream(&question);
        assert_eq!((asked.pid, asked.command.as_deref()), (Some(7), Some("curl")));
        assert_eq!(asked.conditions.remote.as_deref(), Some("10.0.0.0/8"));
        assert_eq!(asked.conditions.remote_port.as_deref(), Some("443"));
        let failures = "refused,reset,timed_out,unreachable,aborted,failed";
        assert_eq!(asked.conditions.outcome.as_deref(), Some(failures));
        assert_eq!(asked.conditions.direction.as_deref(), Some("inbound"));
        assert_eq!((of_drops(&question).outcome, of_drops(&question).direction), (None, None));
        assert_eq!(of_sums(&question), None);
        let sums = of_sums(&Question { pid: 0, to: None, port: 0, duration: 60, ..question }).unwrap();
        assert_eq!((sums.process.as_deref(), sums.duration_seconds), (Some("curl"), Some(60)));
        assert_eq!(of_connections(&Question::default()), Conditions::default());
    }
}
