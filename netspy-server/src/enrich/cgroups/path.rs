//! What the path of a cgroup says: which systemd unit, container and pod its processes belong to. Pure.

/// Where a process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The innermost systemd service or scope.
    pub unit: Option<String>,
    /// The container runtime's id, or the name of an LXC container.
    pub container_id: Option<String>,
    /// The Kubernetes pod.
    pub pod_uid: Option<String>,
}

/// From the text of `/proc/PID/cgroup`, cgroups(7): a line `id:controllers:path` for each hierarchy. Version 1
/// hierarchies may know what the unified one (the line that begins with `0::`) does not, and the other way round.
pub fn place_of_all(text: &str) -> Place {
    let lines = text.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        Some((parts.next()?, parts.next()?))
    });
    // systemd's own hierarchies first: in those of resources a unit may stand that is only the parent's.
    let mut paths: Vec<(bool, &str)> =
        lines.map(|(controllers, path)| (matches!(controllers, "" | "name=systemd"), path)).collect();
    paths.sort_by_key(|(systemd, _)| !systemd);
    paths.into_iter().map(|(_, path)| place_of(path)).fold(Place::default(), |known, more| Place {
        unit: known.unit.or(more.unit),
        container_id: known.container_id.or(more.container_id),
        pod_uid: known.pod_uid.or(more.pod_uid),
    })
}

/// From one path. What stands further in, wins.
pub fn place_of(path: &str) -> Place {
    let mut place = Place::default();
    let mut outer = "";
    for part in path.split('/').filter(|part| !part.is_empty()) {
        if let Some(unit) = unit(part) {
            place.unit = Some(unit.to_owned());
        }
        if let Some(id) = container(part, outer) {
            place.container_id = Some(id.to_owned());
        }
        if let Some(uid) = pod(part) {
            place.pod_uid = Some(uid);
        }
        outer = part;
    }
    place
}

/// systemd puts `_` before a unit's name that could be taken for one of the kernel's files.
fn unit(part: &str) -> Option<&str> {
    let name = part.strip_prefix('_').unwrap_or(part);
    let is_unit =
        name.strip_suffix(".service").or(name.strip_suffix(".scope")).is_some_and(|n| !n.is_empty());
    is_unit.then_some(name)
}

/// `ID` (cgroupfs drivers of Docker, Podman, CRI), `RUNTIME-ID.scope` (systemd drivers), `SLICE:RUNTIME:ID`
/// (containerd without a driver set), `TASK-NUMBER` below `ecs`, and LXC's names.
fn container<'a>(part: &'a str, outer: &str) -> Option<&'a str> {
    if is_id(part) || (outer.starts_with("ecs") || is_ecs_task(outer)) && is_ecs_task(part) {
        return Some(part);
    }
    if let Some(scope) = part.strip_suffix(".scope") {
        let (runtime, id) = scope.rsplit_once('-')?;
        // The monitor beside a container is not in it.
        return (is_id(id) && !runtime.ends_with("conmon")).then_some(id);
    }
    if let Some((_, id)) = part.rsplit_once(':')
        && is_id(id)
    {
        return Some(id);
    }
    if let Some(id) = part.strip_prefix("libpod-").filter(|id| is_id(id)) {
        return Some(id);
    }
    if let Some(name) = part.strip_prefix("lxc.payload.") {
        return Some(name);
    }
    matches!(outer, "lxc" | "lxc.payload").then_some(part)
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Amazon ECS: 32 hexadecimal digits, and for a container of the task a decimal number.
fn is_ecs_task(text: &str) -> bool {
    let (task, number) = text.split_once('-').unwrap_or((text, "0"));
    task.len() == 32
        && task.bytes().all(|byte| byte.is_ascii_hexdigit())
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// `podUID` (cgroupfs driver) or `kubepods[-QOS]-podUID.slice` with `_` for `-` (systemd driver), which containerd
/// may follow by `:cri-containerd:ID`.
fn pod(part: &str) -> Option<String> {
    let uid = match part.split_once(".slice") {
        Some((slice, _)) if slice.contains("kubepods") => slice.rsplit_once("-pod")?.1.replace('_', "-"),
        Some(_) => return None,
        None => part.strip_prefix("pod")?.to_owned(),
    };
    let digits = uid.bytes().filter(u8::is_ascii_hexdigit).count();
    let dashes = uid.bytes().filter(|byte| *byte == b'-').count();
    // A UUID, or the hash that names a static pod.
    (digits == 32 && digits + dashes == uid.len() && matches!(dashes, 0 | 4)).then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "8f3b0c2d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f809";
    const UID: &str = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";

    /// A path with `{id}`, `{uid}` and `{u_i_d}` in it, and the unit, container and pod that it says.
    const TABLE: &[(&str, &str, &str, &str)] = &[
        ("/", "", "", ""),
        ("", "", "", ""),
        ("/init.scope", "init.scope", "", ""),
        ("/system.slice/ssh.service", "ssh.service", "", ""),
        ("/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service", "", ""),
        ("/system.slice/_cpu.service", "cpu.service", "", ""),
        ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope", "", ""),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/a-b@c.service", "a-b@c.service", "", ""),
        ("/user.slice/user-1000.slice", "", "", ""),
        ("/.service/.scope", "", "", ""),
        // Docker
        ("/system.slice/docker-{id}.scope", "docker-{id}.scope", "{id}", ""),
        ("/docker/{id}", "", "{id}", ""),
        ("/docker/buildkit/{id}", "", "{id}", ""),
        ("/docker/{id}/system.slice/nginx.service", "nginx.service", "{id}", ""),
        ("/docker/{id}/docker/{ID}", "", "{ID}", ""),
        ("/system.slice/docker.service", "docker.service", "", ""),
        // Podman
        ("/machine.slice/libpod-{id}.scope", "libpod-{id}.scope", "{id}", ""),
        ("/machine.slice/libpod-{id}.scope/container", "libpod-{id}.scope", "{id}", ""),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{id}.scope/container",
            "libpod-{id}.scope",
            "{id}",
            "",
        ),
        ("/machine.slice/libpod-conmon-{id}.scope", "libpod-conmon-{id}.scope", "", ""),
        ("/libpod_parent/libpod-{id}", "", "{id}", ""),
        // Kubernetes: containerd and CRI-O, systemd driver
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{u_i_d}.slice/cri-containerd-{id}.scope",
            "cri-containerd-{id}.scope",
            "{id}",
            "{uid}",
        ),
        ("/kubepods.slice/kubepods-pod{u_i_d}.slice/crio-{id}.scope", "crio-{id}.scope", "{id}", "{uid}"),
        (
            "/kubepods.slice/kubepods-pod{u_i_d}.slice/crio-{id}.scope/container",
            "crio-{id}.scope",
            "{id}",
            "{uid}",
        ),
        (
            "/kubepods.slice/kubepods-pod{u_i_d}.slice/crio-conmon-{id}.scope",
            "crio-conmon-{id}.scope",
            "",
            "{uid}",
        ),
        (
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{u_i_d}.slice/cri-containerd-{id}.scope",
            "cri-containerd-{id}.scope",
            "{id}",
            "{uid}",
        ),
        // … cgroupfs driver
        ("/kubepods/burstable/pod{uid}/{id}", "", "{id}", "{uid}"),
        ("/kubepods/besteffort/pod{uid}/crio-{id}.scope", "crio-{id}.scope", "{id}", "{uid}"),
        (
            "/kubepods/pod9e8d7c6b5a49382716051f2e3d4c5b6a/{id}",
            "",
            "{id}",
            "9e8d7c6b5a49382716051f2e3d4c5b6a",
        ),
        (
            "/system.slice/containerd.service/kubepods-besteffort-pod{u_i_d}.slice:cri-containerd:{id}",
            "containerd.service",
            "{id}",
            "{uid}",
        ),
        ("/docker/{ID}/kubelet/kubepods/besteffort/pod{uid}/{id}", "", "{id}", "{uid}"),
        ("/kubepods/burstable/podcast", "", "", ""),
        ("/system.slice/podman.service", "podman.service", "", ""),
        // Amazon ECS
        ("/ecs/9e8d7c6b5a49382716051f2e3d4c5b6a/{id}", "", "{id}", ""),
        (
            "/ecs/9e8d7c6b5a49382716051f2e3d4c5b6a/9e8d7c6b5a49382716051f2e3d4c5b6a-1234567890",
            "",
            "9e8d7c6b5a49382716051f2e3d4c5b6a-1234567890",
            "",
        ),
        // LXC, LXD, Incus, systemd-nspawn
        ("/lxc/web1/system.slice/cron.service", "cron.service", "web1", ""),
        ("/lxc.payload.web1/init.scope", "init.scope", "web1", ""),
        ("/lxc.monitor.web1", "", "", ""),
        ("/machine.slice/systemd-nspawn@web1.service/payload", "systemd-nspawn@web1.service", "", ""),
        // Close, but not a container
        ("/user.slice/run-8f3b0c2d.scope", "run-8f3b0c2d.scope", "", ""),
        ("/build/8f3b0c2d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f80", "", "", ""),
    ];

    fn filled(text: &str) -> Option<String> {
        let text = text
            .replace("{id}", ID)
            .replace("{ID}", &ID.chars().rev().collect::<String>())
            .replace("{uid}", UID)
            .replace("{u_i_d}", &UID.replace('-', "_"));
        (!text.is_empty()).then_some(text)
    }

    #[test]
    fn paths_of_the_real_world() {
        for (path, unit, container, pod) in TABLE {
            let expected =
                Place { unit: filled(unit), container_id: filled(container), pod_uid: filled(pod) };
            assert_eq!(place_of(&filled(path).unwrap_or_default()), expected, "{path}");
        }
    }

    #[test]
    fn hierarchies_complete_each_other() {
        let docker_v1 =
            format!("12:pids:/docker/{ID}\n1:name=systemd:/docker/{ID}\n0::/system.slice/x.service\n");
        let place = place_of_all(&docker_v1);
        assert_eq!((place.unit.as_deref(), place.container_id.as_deref()), (Some("x.service"), Some(ID)));
        let hybrid = "9:memory:/user.slice/user@0.service\n1:name=systemd:/system.slice/cron.service\n0::/\n";
        assert_eq!(place_of_all(hybrid).unit.as_deref(), Some("cron.service"));
        assert_eq!(place_of_all("0::/a:b.service\n").unit.as_deref(), Some("a:b.service"));
        assert_eq!(place_of_all("nonsense\n:\n"), Place::default());
    }
}
