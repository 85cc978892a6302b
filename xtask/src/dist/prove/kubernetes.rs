//! The description for Kubernetes: right by Kubernetes' own schemas, least privilege by what it says, and what its
//! container has is what the proof of the image runs one with.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::command;
use crate::suites::install;

/// Oldest and newest version whose schemas it has to meet: the field `appArmorProfile` came with 1.30.
const VERSIONS: [&str; 2] = ["1.30.0", "1.37.0"];
/// What the image begins with (packaging/docker/Dockerfile), in Kubernetes' words.
const CAPABILITIES: [&str; 6] = ["BPF", "DAC_READ_SEARCH", "PERFMON", "SYSLOG", "SYS_ADMIN", "SYS_PTRACE"];
/// The only place of the host that may be written.
const HISTORY: &str = "/var/lib/netspy";

/// The container of the description, as podman runs it: shell commands.
pub(super) struct Container {
    pub(super) run: String,
    /// What the kubelet asks to know whether it is ready.
    pub(super) probe: String,
}

/// Fails unless the description is right.
pub(super) fn job(root: &Path, out: &Path, description: &Path) -> Result<Container> {
    let python = out.join("kubernetes");
    install::python(root, &root.join("xtask/suites/kubernetes.txt"), &python)?;
    for version in VERSIONS {
        let mut validate = Command::new(python.join("bin/kubernetes-validate"));
        command::output(validate.args(["--strict", "--kubernetes-version", version]).arg(description))?;
    }
    let to_json = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let json = command::text(Command::new(python.join("bin/python")).args(["-c", to_json]).arg(description))?;
    let documents: Vec<Value> = serde_json::from_str(&json)?;
    let is_daemon_set = |document: &&Value| document["kind"] == "DaemonSet";
    let daemon_set = documents.iter().find(is_daemon_set).context("there is no DaemonSet")?;
    let pod = &daemon_set["spec"]["template"]["spec"];
    has_least_privilege(pod)?;
    println!("Kubernetes: right by the schemas of {}, and of least privilege", VERSIONS.join(" and "));
    let probe: Vec<_> = texts(&pod["containers"][0]["readinessProbe"]["exec"]["command"]).collect();
    ensure!(!probe.is_empty(), "nobody asks whether it is ready");
    Ok(Container { run: podman(pod), probe: format!("podman exec pod {}", probe.join(" ")) })
}

/// Whatever is not said here is not given by default.
fn has_least_privilege(pod: &Value) -> Result<()> {
    for host in ["hostNetwork", "hostIPC"] {
        ensure!(pod[host].is_null(), "{host} is not needed");
    }
    ensure!(pod["automountServiceAccountToken"] == false, "it has no use for the cluster's API");
    let container = &pod["containers"][0];
    let context = &container["securityContext"];
    ensure!(context["privileged"] == false && context["readOnlyRootFilesystem"] == true, "it is privileged");
    ensure!(context["seccompProfile"]["type"] == "RuntimeDefault", "its system calls are not filtered");
    ensure!(texts(&context["capabilities"]["drop"]).eq(["ALL"]), "not every capability is dropped");
    let added: BTreeSet<&str> = texts(&context["capabilities"]["add"]).collect();
    ensure!(added == BTreeSet::from(CAPABILITIES), "it adds {added:?}");
    for (mount, path) in mounts(pod) {
        let is_written = mount["readOnly"] != true;
        ensure!(!is_written || path.is_none_or(|path| path == HISTORY), "{mount} can be written");
    }
    Ok(())
}

/// The container's mounts, each with its place on the host if it has one.
fn mounts(pod: &Value) -> impl Iterator<Item = (&Value, Option<&str>)> {
    let volumes = pod["volumes"].as_array();
    let mounts = pod["containers"][0]["volumeMounts"].as_array().into_iter().flatten();
    mounts.map(move |mount| {
        let volume = volumes.into_iter().flatten().find(|volume| volume["name"] == mount["name"]);
        (mount, volume.and_then(|volume| volume["hostPath"]["path"].as_str()))
    })
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// The container as podman runs it. A pod has a network and a control group namespace of its own.
fn podman(pod: &Value) -> String {
    let container = &pod["containers"][0];
    let context = &container["securityContext"];
    let mut words =
        vec!["podman run --detach --name pod --network none --cgroupns private --cap-drop ALL".to_owned()];
    words.extend((pod["hostPID"] == true).then(|| "--pid host".to_owned()));
    words.extend(
        (context["readOnlyRootFilesystem"] == true).then(|| "--read-only --read-only-tmpfs=false".to_owned()),
    );
    words.extend(
        (context["appArmorProfile"]["type"] == "Unconfined")
            .then(|| "--security-opt apparmor=unconfined".to_owned()),
    );
    words.extend(texts(&context["capabilities"]["add"]).map(|name| format!("--cap-add {name}")));
    for variable in container["env"].as_array().into_iter().flatten() {
        let text = |key: &str| variable[key].as_str().unwrap_or_default();
        words.push(format!("--env {}={}", text("name"), text("value")));
    }
    for (mount, path) in mounts(pod) {
        let place = mount["mountPath"].as_str().unwrap_or_default();
        words.push(match path {
            Some(path) => {
                format!("--volume {path}:{place}{}", if mount["readOnly"] == true { ":ro" } else { "" })
            }
            None => format!("--tmpfs {place}"),
        });
    }
    words.push("netspy".to_owned());
    words.extend(texts(&container["args"]).map(str::to_owned));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Value {
        json!({
            "hostPID": true,
            "automountServiceAccountToken": false,
            "containers": [{
                "args": ["--listen", "off"],
                "env": [{"name": "NETSPY_KEEP_SIZE", "value": "1GiB"}],
                "securityContext": {
                    "capabilities": {"drop": ["ALL"], "add": CAPABILITIES},
                    "privileged": false,
                    "readOnlyRootFilesystem": true,
                    "seccompProfile": {"type": "RuntimeDefault"},
                    "appArmorProfile": {"type": "Unconfined"},
                },
                "volumeMounts": [
                    {"name": "history", "mountPath": "/var/lib/netspy"},
                    {"name": "tracing", "mountPath": "/sys/kernel/tracing", "readOnly": true},
                    {"name": "socket", "mountPath": "/run/netspy"},
                ],
            }],
            "volumes": [
                {"name": "history", "hostPath": {"path": "/var/lib/netspy"}},
                {"name": "tracing", "hostPath": {"path": "/sys/kernel/tracing"}},
                {"name": "socket", "emptyDir": {}},
            ],
        })
    }

    #[test]
    fn more_than_least_privilege_is_refused() {
        has_least_privilege(&pod()).unwrap();
        let context = "/containers/0/securityContext";
        for (pointer, key, value) in [
            ("", "hostNetwork", json!(true)),
            ("", "automountServiceAccountToken", json!(null)),
            (context, "privileged", json!(true)),
            (context, "readOnlyRootFilesystem", json!(null)),
            (context, "seccompProfile", json!({"type": "Unconfined"})),
            (context, "capabilities", json!({"add": CAPABILITIES})),
            (context, "capabilities", json!({"drop": ["ALL"], "add": ["BPF", "NET_ADMIN"]})),
            ("/containers/0/volumeMounts/1", "readOnly", json!(false)),
        ] {
            let mut pod = pod();
            pod.pointer_mut(pointer).unwrap()[key] = value;
            assert!(has_least_privilege(&pod).is_err(), "{pointer}/{key}");
        }
    }

    #[test]
    fn podman_is_told_what_the_pod_says() {
        let words = podman(&pod());
        for part in [
            "--pid host",
            "--cap-drop ALL",
            "--cap-add SYS_PTRACE",
            "--read-only ",
            "--security-opt apparmor=unconfined",
            "--env NETSPY_KEEP_SIZE=1GiB",
            "--volume /sys/kernel/tracing:/sys/kernel/tracing:ro",
            "--volume /var/lib/netspy:/var/lib/netspy ",
            "--tmpfs /run/netspy",
        ] {
            assert!(words.contains(part), "{words}");
        }
        assert!(words.ends_with(" netspy --listen off"), "{words}");
    }
}
