//! Which container and which systemd unit a cgroup belongs to, derived from its path alone.
//!
//! Runtimes write the container's id, 64 hexadecimal digits, into the cgroup's name in a form of their own. What
//! has no such form is no container.

/// A container.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Container {
    /// Its id: 64 lower-case hexadecimal digits.
    pub id: String,
    /// What runs it: `docker`, `containerd`, `cri-o` or `podman`. `None` when the path does not say, as with
    /// Kubernetes and the cgroup driver `cgroupfs`.
    pub runtime: Option<&'static str>,
}

/// What a cgroup's path says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CgroupInfo {
    /// The innermost container.
    pub container: Option<Container>,
    /// The innermost systemd unit that has processes (`nginx.service`), as `systemctl` takes it; not a scope that
    /// a container's runtime made for the container.
    pub unit: Option<String>,
}

/// Names before the id, or of the cgroup around it, and whose they are.
const RUNTIMES: [(&str, &str); 6] = [
    ("docker", "docker"),
    ("cri-containerd", "containerd"),
    ("nerdctl", "containerd"),
    ("crio", "cri-o"),
    // In the unit's own cgroup (`--cgroups=split`).
    ("libpod-payload", "podman"),
    ("libpod", "podman"),
];

/// Length of a container's id.
const ID_LENGTH: usize = 64;

/// The kinds of units that have processes. A slice has only cgroups (systemd.slice(5)).
const UNIT_KINDS: [&str; 5] = [".service", ".scope", ".socket", ".mount", ".swap"];

/// What `path` says, a path in the cgroup v2 hierarchy or in one of v1, as in `/proc/PID/cgroup`.
pub fn identify(path: &str) -> CgroupInfo {
    // So the kernel marks a cgroup that was removed while a process was left in it.
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let mut identity = CgroupInfo::default();
    let mut parent = "";
    let mut names = path.split('/').filter(|name| !name.is_empty()).peekable();
    while let Some(name) = names.next() {
        match container(name, parent) {
            // The container's monitor, which is no part of it.
            Some(_) if names.peek() == Some(&"conmon") => {}
            Some(container) => identity.container = Some(container),
            None => identity.unit = unit(name).or(identity.unit),
        }
        parent = name;
    }
    identity
}

/// The container that a cgroup is made for, by the name of the cgroup and of the one around it.
fn container(name: &str, parent: &str) -> Option<Container> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let (before, id) = name.split_at_checked(name.len().checked_sub(ID_LENGTH)?)?;
    if !id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let runtime_of = |name| RUNTIMES.iter().find(|(known, _)| *known == name).map(|(_, runtime)| *runtime);
    let runtime = if before.is_empty() {
        // `/docker/ID`, `/kubepods/burstable/podUID/ID`.
        runtime_of(parent)
    } else if let Some(path) = before.strip_suffix(':') {
        // `SLICE:cri-containerd:ID`: a name for systemd, used by a runtime that does not use systemd.
        runtime_of(path.rsplit(':').next()?)
    } else {
        // `docker-ID.scope`, `crio-ID`. Others, as `crio-conmon-ID`, are about a container, and none.
        Some(runtime_of(before.strip_suffix('-')?)?)
    };
    Some(Container { id: id.to_owned(), runtime })
}

/// The unit whose cgroup has this name.
fn unit(name: &str) -> Option<String> {
    // systemd writes `_` before names that mean something to the kernel, such as `_cpu.service` (cg_escape()).
    let name = name.strip_prefix('_').unwrap_or(name);
    let kind = UNIT_KINDS.iter().find(|kind| name.ends_with(**kind))?;
    (name.len() > kind.len()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: &str = "6b2ad5e1f70c4a95d0f1e2d3c4b5a69788796a5b4c3d2e1f0f1e2d3c4b5a6978";
    const B: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    /// Path with `A` and `B` for ids; runtime, id and unit.
    type Case = (&'static str, Option<(&'static str, &'static str)>, Option<&'static str>);

    const CONTAINERS: [Case; 25] = [
        ("/docker/A", Some(("docker", A)), None),
        ("/system.slice/docker-A.scope", Some(("docker", A)), None),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-A.scope",
            Some(("docker", A)),
            Some("user@1000.service"),
        ),
        ("/../../docker/A", Some(("docker", A)), None),
        ("/docker/A/docker/B", Some(("docker", B)), None),
        ("/docker/A/system.slice/containerd.service", Some(("docker", A)), Some("containerd.service")),
        ("/system.slice/docker.service/docker/A", Some(("docker", A)), Some("docker.service")),
        ("/system.slice:docker:A", Some(("docker", A)), None),
        ("/docker/A (deleted)", Some(("docker", A)), None),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod6f0c1a2b_9d8e_4f3a_b2c1_d0e9f8a7b6c5.slice/cri-containerd-A.scope",
            Some(("containerd", A)),
            None,
        ),
        (
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod6f0c1a2b.slice/docker-A.scope",
            Some(("docker", A)),
            None,
        ),
        (
            "/kubepods.slice/kubepods-pod6f0c1a2b_9d8e_4f3a_b2c1_d0e9f8a7b6c5.slice/crio-A.scope",
            Some(("cri-o", A)),
            None,
        ),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod6f0c1a2b.slice/crio-A.scope/container",
            Some(("cri-o", A)),
            None,
        ),
        ("/kubepods/burstable/pod6f0c1a2b-9d8e-4f3a-b2c1-d0e9f8a7b6c5/crio-A", Some(("cri-o", A)), None),
        ("/kubepods/besteffort/pod6f0c1a2b-9d8e-4f3a-b2c1-d0e9f8a7b6c5/A", Some(("", A)), None),
        ("/kubepods.slice/kubepods-pod6f0c1a2b.slice/A", Some(("", A)), None),
        (
            "/system.slice/containerd.service/kubepods-burstable-pod6f0c1a2b.slice:cri-containerd:A",
            Some(("containerd", A)),
            Some("containerd.service"),
        ),
        (
            "/docker/A/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod6f0c.slice/cri-containerd-B.scope",
            Some(("containerd", B)),
            None,
        ),
        ("/system.slice/nerdctl-A.scope", Some(("containerd", A)), None),
        ("/default/A", Some(("", A)), None),
        ("/machine.slice/libpod-A.scope", Some(("podman", A)), None),
        ("/machine.slice/libpod-A.scope/container", Some(("podman", A)), None),
        ("/machine.slice/machine-libpod_pod_B.slice/libpod-A.scope", Some(("podman", A)), None),
        ("/libpod_parent/libpod-A", Some(("podman", A)), None),
        ("/system.slice/web.service/libpod-payload-A", Some(("podman", A)), Some("web.service")),
    ];

    const NO_CONTAINERS: [Case; 24] = [
        ("/", None, None),
        ("", None, None),
        ("/system.slice/nginx.service", None, Some("nginx.service")),
        ("/system.slice/system-getty.slice/getty@tty1.service", None, Some("getty@tty1.service")),
        (
            "/system.slice/system-postgresql.slice/postgresql@15-main.service",
            None,
            Some("postgresql@15-main.service"),
        ),
        (
            "/system.slice/systemd-fsck@dev-disk-by\x2duuid-1a2b.service",
            None,
            Some("systemd-fsck@dev-disk-by\x2duuid-1a2b.service"),
        ),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/x.service", None, Some("x.service")),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-org.gnome.Terminal-4711.scope",
            None,
            Some("app-gnome-org.gnome.Terminal-4711.scope"),
        ),
        ("/user.slice/user-0.slice/session-3.scope", None, Some("session-3.scope")),
        ("/user.slice/user-1000.slice/user@1000.service/init.scope", None, Some("init.scope")),
        ("/init.scope", None, Some("init.scope")),
        ("/user.slice", None, None),
        ("/system.slice/_cpu.service", None, Some("cpu.service")),
        ("/system.slice/docker.service", None, Some("docker.service")),
        ("/system.slice/docker.socket", None, Some("docker.socket")),
        ("/system.slice/nginx.service/worker", None, Some("nginx.service")),
        ("/system.slice/old.service (deleted)", None, Some("old.service")),
        ("/machine.slice/libpod-conmon-A.scope", None, Some("libpod-conmon-A.scope")),
        ("/system.slice/crio-conmon-A.scope", None, Some("crio-conmon-A.scope")),
        ("/libpod_parent/libpod-A/conmon", None, None),
        ("/libpod_parent/conmon", None, None),
        ("/kubepods/burstable/pod6f0c1a2b-9d8e-4f3a-b2c1-d0e9f8a7b6c5", None, None),
        ("/machine.slice/machine-libpod_pod_A.slice", None, None),
        ("/system.slice/.service", None, None),
    ];

    fn with_ids(text: &str) -> String {
        // Ids stand at the end of a word, capital letters elsewhere do not.
        let words = text.split_inclusive(['/', '-', ':', '_', '.', ' ']);
        let id = |word: &str| match word.strip_suffix(['/', '-', ':', '_', '.', ' ']).unwrap_or(word) {
            "A" => word.replace('A', A),
            "B" => word.replace('B', B),
            _ => word.to_owned(),
        };
        words.map(id).collect()
    }

    #[test]
    fn paths_tell_containers_and_units() {
        for (path, container, unit) in CONTAINERS.into_iter().chain(NO_CONTAINERS) {
            let expected = CgroupInfo {
                container: container.map(|(runtime, id)| Container {
                    id: id.to_owned(),
                    runtime: Some(runtime).filter(|runtime| !runtime.is_empty()),
                }),
                unit: unit.map(with_ids),
            };
            assert_eq!(identify(&with_ids(path)), expected, "{path}");
        }
    }

    #[test]
    fn an_id_is_64_lower_case_hexadecimal_digits() {
        for id in
            [&A[1..], &format!("{A}0"), &A.to_uppercase(), &A.replace('6', "g"), &A.replacen("6b", "é", 1)]
        {
            assert_eq!(identify(&format!("/docker/{id}")).container, None, "{id}");
            assert_eq!(identify(&format!("/system.slice/docker-{id}.scope")).container, None, "{id}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_identified(path in ".*") {
            identify(&path);
        }

        #[test]
        fn likely_paths_are_identified(
            parts in prop::collection::vec(prop::sample::select(
                &["/", "-", ":", "_", ".scope", ".service", "docker", "libpod", "conmon", "crio", "é", A, B][..]
            ), 0..12),
        ) {
            let identity = identify(&parts.concat());
            if let Some(container) = identity.container {
                prop_assert_eq!(container.id.len(), ID_LENGTH);
            }
            if let Some(unit) = identity.unit {
                prop_assert!(!unit.is_empty() && !unit.contains('/'));
            }
        }
    }
}
