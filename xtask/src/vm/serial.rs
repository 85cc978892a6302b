//! What a guest prints on its serial line: whose line each is, and what each rung's result was.

/// Printed by the guest's init before a rung, followed by the rung.
pub(super) const BEGIN: &str = "NETSPY-VM-BEGIN";
/// Printed after a rung, followed by the rung and the exit code.
pub(super) const EXIT: &str = "NETSPY-VM-EXIT";

/// Printed by a scenario before what its server's doctor says about the events, as JSON.
const EVENTS: &str = "NETSPY-EVENTS ";

/// Printed before a scenario that has another try, followed by its name and why.
const SECOND_TRY: &str = "NETSPY-SECOND-TRY ";

/// What one boot has said so far.
#[derive(Default)]
pub(super) struct Transcript {
    current: Option<String>,
    lines: Vec<(Option<String>, String)>,
    exits: Vec<(String, i32)>,
    /// Why the boot ended before its time, if it did.
    pub(super) cut_short: Option<String>,
}

impl Transcript {
    /// Takes the next line; returns what to put in front of it for the reader.
    pub(super) fn take(&mut self, line: &str) -> String {
        let line = line.trim_end_matches(['\r', '\n']);
        if let Some(rung) = line.strip_prefix(BEGIN) {
            self.current = Some(rung.trim().to_owned());
        }
        let owner = self.current.clone();
        if let Some((rung, code)) = line.strip_prefix(EXIT).and_then(|rest| rest.trim().split_once(' ')) {
            // A code that is no number (a garbled line) counts as a failure, not as silence.
            self.exits.push((rung.to_owned(), code.trim().parse().unwrap_or(-1)));
            self.current = None;
        }
        self.lines.push((owner.clone(), line.to_owned()));
        owner.unwrap_or_else(|| "boot".to_owned())
    }

    /// The number of tests that passed, or why the rung failed.
    pub(super) fn outcome(&self, rung: &str) -> Result<usize, String> {
        let Some((_, code)) = self.exits.iter().find(|(name, _)| name == rung) else {
            let reason = self.cut_short.as_deref().unwrap_or("the guest ended first");
            return Err(format!("no result: {reason}"));
        };
        let results: Vec<(usize, usize)> = self.lines_of(rung).filter_map(test_result).collect();
        let passed: usize = results.iter().map(|(passed, _)| passed).sum();
        let failed: usize = results.iter().map(|(_, failed)| failed).sum();
        match (*code, failed, passed) {
            (0, 0, 0) => Err("exit code 0, but no test ran".to_owned()),
            (0, 0, _) => Ok(passed),
            (code, failed, passed) => {
                let which: String = self.failures(rung).collect();
                Err(format!("exit code {code}, {passed} passed, {failed} failed{which}"))
            }
        }
    }
}

impl Transcript {
    /// What the doctor said about the events on this rung.
    pub(super) fn events(&self, rung: &str) -> Option<serde_json::Value> {
        self.lines_of(rung).find_map(|line| serde_json::from_str(line.strip_prefix(EVENTS)?).ok())
    }

    /// Scenarios that had a second try, and why.
    pub(super) fn second_tries(&self, rung: &str) -> impl Iterator<Item = &str> {
        self.lines_of(rung).filter_map(|line| line.strip_prefix(SECOND_TRY))
    }

    /// Scenarios that failed, each on a line of its own with the first line of its reason.
    fn failures(&self, rung: &str) -> impl Iterator<Item = String> {
        let name = |line: &str| Some(line.strip_prefix("---- ")?.strip_suffix(" ----")?.to_owned());
        let reasons = self.lines_of(rung).skip(1);
        self.lines_of(rung)
            .zip(reasons)
            .filter_map(move |(line, reason)| Some(format!("\n        {}: {reason}", name(line)?)))
    }

    fn lines_of(&self, rung: &str) -> impl Iterator<Item = &str> {
        let lines = self.lines.iter().filter(move |(owner, _)| owner.as_deref() == Some(rung));
        lines.map(|(_, line)| line.as_str())
    }
}

/// Passed and failed counts of libtest's closing line.
fn test_result(line: &str) -> Option<(usize, usize)> {
    // Not anchored at the start: the kernel may have printed a message on the same line.
    let (_, counts) = line.split_once("test result: ")?;
    let count = |what: &str| {
        let (before, _) = counts.split_once(what)?;
        before.trim_end().rsplit([' ', ';']).next()?.parse().ok()
    };
    Some((count("passed")?, count("failed")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcript(text: &str) -> Transcript {
        let mut transcript = Transcript::default();
        text.lines().for_each(|line| {
            transcript.take(line);
        });
        transcript
    }

    const OK: &str =
        "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s";

    #[test]
    fn a_rung_that_ran_and_exited_with_0_passed() {
        let boot = transcript(&format!("{BEGIN} kprobe\r\ntest a ... ok\r\n{OK}\r\n{EXIT} kprobe 0\r"));
        assert_eq!(boot.outcome("kprobe"), Ok(3));
    }

    #[test]
    fn what_the_doctor_said_is_found_with_its_rung() {
        let boot = transcript(&format!("{BEGIN} kprobe\n{EVENTS}[{{\"name\":\"accept\"}}]\n{EXIT} kprobe 0"));
        assert_eq!(boot.events("kprobe").unwrap()[0]["name"], "accept");
        assert_eq!(boot.events("tracepoint"), None);
    }

    #[test]
    fn results_belong_to_their_rung() {
        let boot = transcript(&format!(
            "{BEGIN} kprobe\n{OK}\n{EXIT} kprobe 0\n{BEGIN} tracepoint\n{SECOND_TRY}a: why\n\
             ---- b ----\ntest panicked: c\nmore of it\n\
             test result: FAILED. 2 passed; 1 failed; 0 ignored\n{EXIT} tracepoint 101"
        ));
        assert_eq!(boot.outcome("kprobe"), Ok(3));
        let failed = "exit code 101, 2 passed, 1 failed\n        b: test panicked: c";
        assert_eq!(boot.outcome("tracepoint"), Err(failed.to_owned()));
        assert_eq!(boot.second_tries("tracepoint").collect::<Vec<_>>(), ["a: why"]);
        assert_eq!(boot.second_tries("kprobe").count(), 0);
    }

    #[test]
    fn silence_is_a_failure() {
        let mut boot = transcript(&format!("{BEGIN} kprobe\n{OK}\n"));
        boot.cut_short = Some("no end after 300 s".to_owned());
        assert_eq!(boot.outcome("kprobe"), Err("no result: no end after 300 s".to_owned()));
        assert_eq!(transcript("").outcome("tracepoint"), Err("no result: the guest ended first".to_owned()));
    }

    #[test]
    fn success_without_a_test_is_a_failure() {
        let boot = transcript(&format!("{BEGIN} kprobe\n{EXIT} kprobe 0"));
        assert!(boot.outcome("kprobe").is_err());
        let none = "test result: ok. 0 passed; 0 failed; 9 ignored";
        assert!(transcript(&format!("{BEGIN} kprobe\n{none}\n{EXIT} kprobe 0")).outcome("kprobe").is_err());
    }

    #[test]
    fn a_garbled_exit_line_is_a_failure() {
        let boot = transcript(&format!("{BEGIN} kprobe\n{OK}\n{EXIT} kprobe 0[ 2.1] audit"));
        assert!(boot.outcome("kprobe").is_err());
    }

    #[test]
    fn each_line_is_attributed_for_the_reader() {
        let mut boot = Transcript::default();
        assert_eq!(boot.take("early"), "boot");
        assert_eq!(boot.take(&format!("{BEGIN} kprobe")), "kprobe");
        assert_eq!(boot.take(&format!("{EXIT} kprobe 0")), "kprobe");
        assert_eq!(boot.take("late"), "boot");
    }

    #[test]
    fn counts_are_found_behind_a_kernel_message() {
        assert_eq!(test_result(&format!("[    1.5] audit: {OK}")), Some((3, 0)));
        assert_eq!(test_result("test result: what"), None);
    }
}
