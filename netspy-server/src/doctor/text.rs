//! The report for people.

use std::{collections::BTreeSet, fmt::Write as _};

use super::{
    Report,
    findings::{Finding, State},
};

/// The whole report, ending with a line end.
pub(super) fn render(report: &Report) -> String {
    let mut said = BTreeSet::new();
    let mut text =
        format!("netspy-server {} on Linux {} ({})\n\n", report.netspy, report.kernel, report.arch);
    for finding in &report.machine {
        let _ = writeln!(text, "{} {:<17} {}", mark(finding), finding.name, finding.value);
        remedy(&mut text, &mut said, &finding.remedy);
    }
    text.push('\n');
    for event in &report.events {
        let mark = if event.status == "active" { "  " } else { "! " };
        let check = match event.check {
            "passed" => "checked: what it reported of the doctor's own traffic was right".to_owned(),
            "undone" => format!("not checked: {}", event.check_note),
            "failed" => format!("disabled: {}", event.check_note),
            _ => "not checked".to_owned(),
        };
        let check = if event.status == "active" || event.check == "failed" { check } else { String::new() };
        let _ =
            writeln!(text, "{}", format!("{mark}{:<17} {:<11} {check}", event.name, event.rung).trim_end());
        for refused in &event.refused {
            let how = if refused.rung == "all" { "not at all" } else { &format!("not by {}", refused.rung) };
            let _ = writeln!(text, "      {how}: {}", refused.reason);
            remedy(&mut text, &mut said, &refused.remedy);
        }
        for remark in &event.remarks {
            let _ = writeln!(text, "      {remark}");
        }
    }
    let lost: Vec<_> =
        report.events.iter().filter(|event| event.status != "active").map(|e| e.name).collect();
    text.push('\n');
    let _ = match lost.as_slice() {
        [] => writeln!(text, "Every event can be had."),
        lost => writeln!(text, "Cannot be had: {}.", lost.join(", ")),
    };
    text
}

fn mark(finding: &Finding) -> &'static str {
    match finding.state {
        State::Ok => " ",
        State::Limited => "-",
        State::Missing => "!",
    }
}

/// Each is said once.
fn remedy<'a>(text: &mut String, said: &mut BTreeSet<&'a str>, remedy: &'a str) {
    if !remedy.is_empty() && said.insert(remedy) {
        let _ = writeln!(text, "      → {remedy}");
    }
}
