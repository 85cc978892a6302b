//! The canary: at start the server does a few things itself and compares what the kernel reports with what it
//! knows. An event whose records are wrong (a wrong offset, say) is disabled: no data is better than wrong data.
//!
//! What other processes did meanwhile is kept for the pipeline; what the server did is not.

mod deeds;
mod judge;

use std::{
    collections::BTreeMap,
    io,
    time::{Duration, Instant},
};

use netspy_common::ConnectionKey;

use self::{
    deeds::Deeds,
    judge::{Findings, Reported, is_own},
};
use crate::{
    decode::{Record, decode},
    domain::{Aspect, Check, Input, KeptInput, Source},
};

/// How long records of what was done are waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// After the last record that is needed, those that are not are waited for, so that they do not come later.
const AFTERMATH: Duration = Duration::from_millis(20);
/// A machine under load may lose a record, or be late with it.
const ATTEMPTS: u32 = 3;

/// What came of it.
pub struct Outcome {
    /// Each event that can be checked, and whether it is right.
    pub checks: Vec<(&'static str, Check)>,
    /// What was wrong, and in which event.
    pub wrong: BTreeMap<Aspect, &'static str>,
    /// What is not about the server's own deeds, in the order in which it came.
    pub kept: Vec<KeptInput>,
}

/// Checks the events of a source that has just begun. `reasons`: the kernel's names for drop reasons.
pub fn check(
    source: &mut dyn Source,
    reasons: &BTreeMap<u32, String>,
    traced: &[&str],
) -> io::Result<Outcome> {
    let mut outcome = Outcome { checks: Vec::new(), wrong: BTreeMap::new(), kept: Vec::new() };
    for _ in 0..ATTEMPTS {
        let deeds = match deeds::perform() {
            Ok(deeds) => deeds,
            Err(why) => {
                let events = EVENTS.into_iter().filter(|event| traced.contains(event));
                outcome.checks = events.map(|event| (event, Check::Undone(why.clone()))).collect();
                break;
            }
        };
        let watch = Watch { deeds: &deeds, reasons, traced };
        let delivered = watch.listen(source)?;
        let own = watch.own(&delivered);
        let findings = watch.judge(&delivered, &own);
        let again = findings.iter().any(|(_, findings)| findings.may_change());
        let lost = delivered.iter().any(|(kept, _)| matches!(kept, KeptInput::Lost { .. }));
        let check = |findings: Findings| match findings.verdict() {
            None => Check::Passed,
            Some(_) if lost && findings.may_change() => {
                Check::Undone("events were lost meanwhile".to_owned())
            }
            Some(how) => Check::Failed(how),
        };
        let failed = findings.iter().filter(|(_, findings)| !(lost && findings.may_change()));
        outcome.wrong =
            failed.flat_map(|(event, of)| of.aspects().iter().map(|aspect| (*aspect, *event))).collect();
        outcome.checks = findings.into_iter().map(|(event, findings)| (event, check(findings))).collect();
        let others = delivered.into_iter().zip(own).filter(|(_, own)| !own);
        outcome.kept.extend(others.map(|((kept, _), _)| kept));
        if !again {
            break;
        }
    }
    Ok(outcome)
}

/// The events that can be checked.
const EVENTS: [&str; 3] = ["connection", "accept", "packet_drop"];

/// What the source delivered, and what it means if it is a record.
type Delivered = (KeptInput, Option<Record>);

/// One attempt.
struct Watch<'a> {
    deeds: &'a Deeds,
    reasons: &'a BTreeMap<u32, String>,
    traced: &'a [&'a str],
}

impl Watch<'_> {
    /// Collects until everything that is needed is there, or for as long as it may take.
    fn listen(&self, source: &mut dyn Source) -> io::Result<Vec<Delivered>> {
        let mut delivered = Vec::new();
        let mut until = Instant::now() + PATIENCE;
        let mut complete = false;
        while Instant::now() < until {
            let more = source.drain(&mut |input| delivered.push(keep(input)))?;
            let may_change = |(_, findings): &(_, Findings)| findings.may_change();
            if !complete && !self.judge(&delivered, &self.own(&delivered)).iter().any(may_change) {
                (complete, until) = (true, Instant::now() + AFTERMATH);
            }
            if !more {
                source.rest()?.at_most(Some(Duration::from_millis(1))).wait(None)?;
            }
        }
        source.settle(&mut |input| delivered.push(keep(input)))?;
        Ok(delivered)
    }

    /// Which of them are about the server's own deeds.
    fn own(&self, delivered: &[Delivered]) -> Vec<bool> {
        let mut keys: Vec<ConnectionKey> = Vec::new();
        let mut is_own = |record: &Record| {
            let own = is_own(self.deeds, &keys, record);
            if let (true, Record::Connect(connect)) = (own, record) {
                keys.push(connect.key);
            }
            own
        };
        delivered.iter().map(|(_, record)| record.as_ref().is_some_and(&mut is_own)).collect()
    }

    fn judge(&self, delivered: &[Delivered], own: &[bool]) -> Vec<(&'static str, Findings)> {
        let records = delivered.iter().zip(own).filter(|(_, own)| **own);
        let reported = Reported::new(records.filter_map(|((_, record), _)| record.as_ref()));
        let findings = |event| match event {
            "connection" => judge::connection(self.deeds, &reported),
            "accept" => judge::accept(self.deeds, &reported),
            _ => judge::packet_drop(self.deeds, self.reasons, &reported),
        };
        let checked = EVENTS.into_iter().filter(|event| self.traced.contains(event));
        checked.map(|event| (event, findings(event))).collect()
    }
}

fn keep(input: Input<'_>) -> Delivered {
    let record = match input {
        Input::Record { ring, bytes } => decode(ring, bytes).ok(),
        _ => None,
    };
    (input.into(), record)
}

/// What a source delivers of events that are still served, of those in `kept` and those that it has left.
pub fn without(
    disabled: &[&str],
    mut kept: Vec<KeptInput>,
    source: &mut dyn Source,
) -> io::Result<Vec<KeptInput>> {
    while source.drain(&mut |input| kept.push(input.into()))? {}
    kept.retain(|kept| match kept.as_input() {
        Input::Record { ring, bytes } => match decode(ring, bytes) {
            Ok(Record::Connect(_) | Record::Outcome(_) | Record::Close(_)) => {
                !disabled.contains(&"connection")
            }
            Ok(Record::Accept(_)) => !disabled.contains(&"accept"),
            Ok(Record::Drop(_)) => !disabled.contains(&"packet_drop"),
            Ok(Record::Trouble(trouble)) => !disabled.contains(&trouble.kind.name()),
            Ok(Record::Unix(_) | Record::UnixClose(_)) => !disabled.contains(&"unix"),
            Ok(Record::Flow(_) | Record::Traffic(_) | Record::Release(_)) => !disabled.contains(&"udp"),
            Ok(Record::Process(_)) => !disabled.contains(&"process"),
            Ok(Record::Count(count)) => !disabled.contains(&count.kind.name()),
            Err(_) => true, // to be counted
        },
        _ => true,
    });
    Ok(kept)
}
