//! `suites`: other people's test suites against netspy's HTTP API (schemathesis) and its MCP server: the official conformance
//! suite, the Inspector, the Python client; and a model that is none. Their versions are pinned in `xtask/suites/`; they are
//! installed below `target/`.

pub(crate) mod install;
mod process;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use self::install::Installed;
use self::process::Process;
use crate::{command, workspace};

/// The suite's requirements of a revision of the protocol, and how many checks pass at least: a run that checks
/// nothing is no pass. What the suite runs without scoring it (extensions, what its own fixture cannot do) must pass as well.
const REQUIREMENTS: [(&str, u32); 2] = [("2026-07-28", 196), ("2025-11-25", 83)];
/// Scenarios that need no tools of fixed names, for the real server, at the revision that has them.
const SCENARIOS: [(&str, &str); 16] = [
    ("server-initialize", "2025-11-25"),
    ("ping", "2025-11-25"),
    ("tools-list", "2025-11-25"),
    ("tools-list", "2026-07-28"),
    ("resources-list", "2025-11-25"),
    ("resources-list", "2026-07-28"),
    ("prompts-list", "2025-11-25"),
    ("prompts-list", "2026-07-28"),
    ("completion-complete", "2025-11-25"),
    ("completion-complete", "2026-07-28"),
    ("dns-rebinding-protection", "2025-11-25"),
    ("dns-rebinding-protection", "2026-07-28"),
    ("caching", "2026-07-28"),
    ("http-header-validation", "2026-07-28"),
    ("sep-2164-resource-not-found", "2026-07-28"),
    ("server-sse-multiple-streams", "2026-07-28"),
];
/// Requests that schemathesis makes at least.
const LEAST_CASES: u32 = 500;
/// The Inspector's names for: only `initialize`, whatever works, only `server/discover`.
const ERAS: [&str; 3] = ["legacy", "auto", "modern"];
const PYTHON_MODES: [&str; 3] = ["legacy", "auto", "2026-07-28"];

/// Installs and runs all of them.
pub(crate) fn job() -> Result<()> {
    let root = workspace::root()?;
    let tools = install::ensure(&root)?;
    command::run(command::cargo(&root).args([
        "build",
        "--quiet",
        "--locked",
        "-p",
        "netspy-server",
        "-p",
        "netspy-cli",
    ]))?;
    command::run(command::cargo(&root).args([
        "build",
        "--quiet",
        "--locked",
        "-p",
        "netspy-cli",
        "--example",
        "conformance",
    ]))?;
    let programs = workspace::target(&root).join("debug");
    let netspy = programs.join("netspy");
    let server = replaying(&root, &programs)?;
    let mut mcp = Command::new(&netspy);
    mcp.args(["mcp", "--http", "127.0.0.1:0", "--rate", "100000", "--server", &server.address]);
    let mcp = Process::start("netspy mcp --http", &mut mcp, "Serving MCP at ")?;

    schemathesis(&root, &tools, &server.address)?;
    conformance(&tools, &programs, &mcp.address)?;
    inspector(&tools, &netspy, &server.address, &mcp.address)?;
    python(&tools, &netspy, &server.address, &mcp.address)?;
    oauth(&tools, &netspy, &server.address)?;
    model(&root, &tools, &netspy, &server.address)
}

/// The server with the recording that ships with the repository: no root, no kernel, always the same answers.
fn replaying(root: &Path, programs: &Path) -> Result<Process> {
    let mut server = Command::new(programs.join("netspy-server"));
    server.arg("--replay").arg(root.join("netspy-server/traces/demo.netspy")).args(["--port", "0"]);
    Process::start("netspy-server --replay", &mut server, "serving on ")
}

/// Asks every endpoint what its description allows, and what it forbids, and holds each answer against the description.
fn schemathesis(root: &Path, tools: &Installed, server: &str) -> Result<()> {
    let mut suite = tools.python_program("schemathesis");
    suite.arg("--config-file").arg(root.join("xtask/suites/schemathesis.toml"));
    // The same cases each time: what it finds can be found again.
    suite.args(["run", &format!("{server}/openapi.json"), "--max-time", "60", "--generation-deterministic"]);
    let run = command::text(suite.args(["--no-color", "--request-timeout", "10"]))?;
    let operations = ["Selected: ", "Tested: "].map(|label| passed(&run, label).unwrap_or_default());
    let cases = passed(&run, "generated, ").unwrap_or_default();
    if operations[0] != operations[1] || operations[0] == 0 || cases < LEAST_CASES {
        bail!("schemathesis has tested too little:\n{run}");
    }
    println!("schemathesis: {cases} requests to {} operations, nothing found", operations[1]);
    Ok(())
}

fn conformance(tools: &Installed, programs: &Path, mcp: &str) -> Result<()> {
    let mut fixture = Command::new(programs.join("examples/conformance"));
    let fixture = Process::start("the conformance fixture", &mut fixture, "Serving MCP at ")?;
    for (revision, least) in REQUIREMENTS {
        let run =
            tools.node("conformance", &["server", "--url", &fixture.address, "--requirements", revision])?;
        let passed = passed(&run, "Total: ").unwrap_or_default();
        let is_clean = run.lines().any(|line| line == format!("Total: {passed} passed, 0 failed"));
        if passed < least || !is_clean {
            bail!("{least} checks of {revision} are to pass and none is to fail:\n{run}");
        }
        println!("conformance {revision} of the production router: {passed} checks passed");
    }
    for (scenario, revision) in SCENARIOS {
        let wanted = ["server", "--url", mcp, "--scenario", scenario, "--spec-version", revision];
        let run = tools.node("conformance", &wanted)?;
        if !run.contains(" 0 failed, 0 warnings") || passed(&run, "Passed: ").unwrap_or_default() == 0 {
            bail!("scenario {scenario} of {revision} checked nothing, or warns:\n{run}");
        }
    }
    println!("conformance of the real server: {} scenarios passed", SCENARIOS.len());
    Ok(())
}

/// The number behind `label`.
fn passed(output: &str, label: &str) -> Option<u32> {
    let after = output.rsplit_once(label)?.1;
    after.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn inspector(tools: &Installed, netspy: &Path, server: &str, mcp: &str) -> Result<()> {
    let netspy = netspy.to_str().context("the path of the program is not UTF-8")?;
    let environment = format!("NETSPY_SERVER={server}");
    let stdio = [netspy, "mcp", "-e", environment.as_str()];
    let http = [mcp, "--transport", "http"];
    for era in ERAS {
        for target in [&stdio[..], &http[..]] {
            let asked = ["--protocol-era", era, "--method", "tools/list", "--strict"];
            let (output, words) =
                tools.node_quiet("mcp-inspector", &[&["--cli"], target, &asked].concat())?;
            if !output.contains("\"list_connections\"") || !words.trim().is_empty() {
                bail!("the Inspector ({era}, {}) complains:\n{words}\n{output}", target[0]);
            }
        }
    }
    println!("Inspector --strict: no complaint in {} eras, on stdio and HTTP", ERAS.len());
    Ok(())
}

fn python(tools: &Installed, netspy: &Path, server: &str, mcp: &str) -> Result<()> {
    for mode in PYTHON_MODES {
        let mut stdio = tools.python("every_tool.py");
        stdio.arg(mode).arg(netspy).args(["mcp", "--server", server]);
        let mut http = tools.python("every_tool.py");
        http.args([mode, mcp]);
        for (transport, mut run) in [("stdio", stdio), ("HTTP", http)] {
            print!("Python client, {mode}, {transport}: {}", command::text(&mut run)?);
        }
    }
    Ok(())
}

/// A real authorization server, a real client, and tokens that must be refused.
fn oauth(tools: &Installed, netspy: &Path, server: &str) -> Result<()> {
    let issuer =
        Process::start("oidc-provider", &mut tools.script("authorization_server.mjs"), "serving on ")?;
    let mut mcp = Command::new(netspy);
    mcp.args(["mcp", "--http", "127.0.0.1:0", "--server", server, "--oauth-issuer", &issuer.address]);
    let mcp = Process::start("netspy mcp --oauth-issuer", &mut mcp, "Serving MCP at ")?;
    print!("{}", command::text(tools.python("oauth.py").args([&mcp.address, &issuer.address]))?);
    Ok(())
}

/// A model that calls a tool and then answers, as somebody else's server of such models plays it.
fn model(root: &Path, tools: &Installed, netspy: &Path, server: &str) -> Result<()> {
    let mut model = tools.npm("llmock");
    model.args(["--port", "0", "--strict", "--validate-on-load", "--fixtures"]);
    let model = Process::start("aimock", model.arg(root.join("xtask/suites/model.json")), "listening on ")?;
    let state = tools.home().join("state");
    let audit = state.join("netspy/ai-audit.jsonl");
    if audit.exists() {
        fs::remove_file(&audit)?;
    }
    let mut ask = Command::new(netspy);
    ask.args(["ask", "Why does curl fail?", "-o", "json", "--server", server]).env("XDG_STATE_HOME", &state);
    ask.env("OPENAI_BASE_URL", format!("{}/v1", model.address)).env("OPENAI_API_KEY", "of-no-use");
    let answer: Value = serde_json::from_str(&command::text(&mut ask)?)?;
    let calls = json!([{"tool": "explain_failures", "arguments": {"process_name": "curl"}}]);
    let said = answer["answer"].as_str().unwrap_or_default();
    // What the pseudonym stood for is put back.
    let is_told = said.starts_with("Nobody listens at ") && !said.contains("host_1");
    if answer["source"] != "model" || answer["calls"] != calls || !is_told {
        bail!("the loop with a model did not end as it should:\n{answer:#}");
    }
    let requests = fs::read_to_string(&audit)?.lines().count();
    if requests != 2 {
        bail!("two requests to the model are to be audited, not {requests}: see {}", audit.display());
    }
    println!("aimock: a tool was called, the answer bears real names, two requests are audited");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_behind_the_label_counts() {
        assert_eq!(passed("Total: 3 passed\nTotal: 143 passed, 0 failed", "Total: "), Some(143));
        assert_eq!(passed("Passed: 2/2, 0 failed", "Passed: "), Some(2));
        assert_eq!(passed("nothing", "Total: "), None);
    }
}
