//! Filters on the command line, and what the names in them stand for.

use std::path::Path;

use clap::Args;
use tcp_trace_model::record::{Cidr, ConnectionId, Filter};

use super::{CliError, run::say};
use crate::kernel::{cgroup, netns};

/// Where `ip netns` keeps its names.
const NETNS_FOLDER: &str = "/run/netns";
/// Where the cgroup v2 hierarchy is, unless it is mounted elsewhere.
const CGROUP_FOLDER: &str = "/sys/fs/cgroup";

/// Values of one filter are alternatives; filters restrict each other.
#[derive(Debug, Args)]
#[command(
    next_help_heading = "Filters of connections (values of one are alternatives, different ones restrict each other)"
)]
pub(super) struct Filters {
    /// Only connections of the process with this id
    #[arg(long, value_name = "PID", value_delimiter = ',', value_parser = process_id)]
    pid: Vec<u32>,
    /// Only connections of processes with this name, as `ps -o comm` shows it
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = comm)]
    comm: Vec<String>,
    /// Only connections with this port at either end
    #[arg(long, value_name = "PORT", value_delimiter = ',', value_parser = port)]
    port: Vec<u16>,
    /// Only connections whose local port is this (on a server: its own port)
    #[arg(long, value_name = "PORT", value_delimiter = ',', value_parser = port)]
    local_port: Vec<u16>,
    /// Only connections whose remote port is this
    #[arg(long, value_name = "PORT", value_delimiter = ',', value_parser = port)]
    peer_port: Vec<u16>,
    /// Only connections with an address in this network at either end
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    addr: Vec<Cidr>,
    /// Only connections of processes in this cgroup (v2) or below it; a path as in /proc/PID/cgroup
    #[arg(long, value_name = "PATH", value_delimiter = ',', value_parser = cgroup_path)]
    cgroup: Vec<String>,
    /// Only connections in this network namespace: an inode number as `lsns` and tcp-trace print it, a name from `ip
    /// netns`, or a path such as /proc/PID/ns/net
    #[arg(long, value_name = "NETNS", value_delimiter = ',', value_parser = netns_name)]
    netns: Vec<String>,
    /// Only connections of processes in this container, by its id or the beginning of it
    #[arg(long, value_name = "ID", value_delimiter = ',', value_parser = container)]
    container: Vec<String>,
    /// Only connections of processes in this systemd unit, such as nginx.service
    #[arg(long, value_name = "UNIT", value_delimiter = ',', value_parser = unit)]
    unit: Vec<String>,
    /// Only this connection, by its name in recordings, such as c4101
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    connection: Vec<ConnectionId>,
    /// Leave out connections of the process with this id
    #[arg(long, value_name = "PID", value_delimiter = ',', value_parser = process_id)]
    not_pid: Vec<u32>,
    /// Leave out connections of processes with this name
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = comm)]
    not_comm: Vec<String>,
    /// Leave out connections with this port at either end
    #[arg(long, value_name = "PORT", value_delimiter = ',', value_parser = port)]
    not_port: Vec<u16>,
    /// Leave out connections with an address in this network at either end
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    not_addr: Vec<Cidr>,
    /// Leave out connections of processes in this cgroup or below it
    #[arg(long, value_name = "PATH", value_delimiter = ',', value_parser = cgroup_path)]
    not_cgroup: Vec<String>,
    /// Leave out connections of processes in this container
    #[arg(long, value_name = "ID", value_delimiter = ',', value_parser = container)]
    not_container: Vec<String>,
    /// Leave out connections of processes in this systemd unit
    #[arg(long, value_name = "UNIT", value_delimiter = ',', value_parser = unit)]
    not_unit: Vec<String>,
}

impl Filters {
    /// The filter that was typed, for this host.
    pub(super) fn of_host(&self) -> Result<Filter, CliError> {
        let netns = self.netns.iter().map(|name| inode_of_name(name, Path::new(NETNS_FOLDER)));
        let mounted = cgroup::mounted_at();
        let filter = Filter { netns: netns.collect::<Result<_, _>>()?, ..self.but_netns(mounted.as_deref()) };
        if let Some(root) = mounted {
            let is_there = |path: &String| Path::new(&format!("{root}{path}")).is_dir();
            for path in filter.cgroup.iter().filter(|path| !is_there(path)) {
                say(format!("there is no cgroup {path} yet: its connections are traced once it exists"));
            }
        }
        for pid in filter.pid.iter().filter(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            say(format!("there is no process {pid} at present"));
        }
        Ok(filter)
    }

    /// The filter that was typed, for a recording: nothing of this host is meant.
    pub(super) fn of_recording(&self) -> Result<Filter, CliError> {
        let netns = self.netns.iter().map(|name| {
            inode(name).ok_or_else(|| {
                CliError::usage(format!(
                    "{name}: recordings identify network namespaces by inode number, so --netns takes only numbers \
                     here"
                ))
            })
        });
        Ok(Filter { netns: netns.collect::<Result<_, _>>()?, ..self.but_netns(None) })
    }

    /// `mounted` is where this host has the cgroup v2 hierarchy.
    fn but_netns(&self, mounted: Option<&str>) -> Filter {
        let Self {
            pid, comm, port, local_port, peer_port, addr, cgroup, container, unit, connection, ..
        } = self;
        let within = |paths: &[String]| paths.iter().map(|path| within_hierarchy(path, mounted)).collect();
        Filter {
            pid: pid.clone(),
            comm: comm.clone(),
            port: port.clone(),
            local_port: local_port.clone(),
            peer_port: peer_port.clone(),
            addr: addr.clone(),
            cgroup: within(cgroup),
            container: container.clone(),
            unit: unit.clone(),
            connection: connection.clone(),
            not: self.excluding(within(&self.not_cgroup)),
            ..Filter::default()
        }
    }

    /// What is left out: each kind by itself.
    fn excluding(&self, cgroup: Vec<String>) -> Vec<Filter> {
        let any = Filter::default;
        let kinds = [
            Filter { pid: self.not_pid.clone(), ..any() },
            Filter { comm: self.not_comm.clone(), ..any() },
            Filter { port: self.not_port.clone(), ..any() },
            Filter { addr: self.not_addr.clone(), ..any() },
            Filter { cgroup, ..any() },
            Filter { container: self.not_container.clone(), ..any() },
            Filter { unit: self.not_unit.clone(), ..any() },
        ];
        kinds.into_iter().filter(|kind| !kind.is_empty()).collect()
    }
}

/// The beginning of a container's id: lower-case hexadecimal digits.
fn container(text: &str) -> Result<String, String> {
    let is_id = (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("expected a container's id or the beginning of it, as `docker ps` and `crictl ps` show it"
            .to_owned())
    }
}

/// A unit's name, with its kind: a service where none is typed, as for systemctl.
fn unit(text: &str) -> Result<String, String> {
    match text {
        "" => Err("expected a unit such as nginx.service".to_owned()),
        name if name.contains('.') => Ok(name.to_owned()),
        name => Ok(format!("{name}.service")),
    }
}

fn process_id(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "expected a process id, such as 4242".to_owned())
}

fn port(text: &str) -> Result<u16, String> {
    let port = text.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| "expected a port number, from 1 to 65535".to_owned())
}

/// The path of a cgroup from the root of the hierarchy, of one that may begin where that is mounted.
fn within_hierarchy(path: &str, mounted: Option<&str>) -> String {
    let below =
        |folder: &str| path.strip_prefix(folder).filter(|below| below.is_empty() || below.starts_with('/'));
    match mounted.and_then(below).or_else(|| below(CGROUP_FOLDER)).unwrap_or(path) {
        "" => "/".to_owned(),
        below => below.to_owned(),
    }
}

/// The inode number of a network namespace that is named as [`Filters::netns`] may be, with names in `folder`.
fn inode_of_name(name: &str, folder: &Path) -> Result<u32, CliError> {
    if let Some(inode) = inode(name) {
        return Ok(inode);
    }
    let path = if name.contains('/') { name.into() } else { folder.join(name) };
    match netns::inode_of_file(&path) {
        Ok(Some(inode)) => Ok(inode),
        Ok(None) => Err(CliError::usage(format!("{} is not a network namespace", path.display()))),
        Err(error) if name.contains('/') || error.kind() != std::io::ErrorKind::NotFound => {
            Err(CliError::usage(format!("cannot open the network namespace {}: {error}", path.display())))
        }
        Err(_) => {
            let folder_has = names(folder).unwrap_or_else(|| "none".to_owned());
            Err(CliError::usage(format!(
                "no network namespace is named {name}: {} contains {folder_has}; --netns also takes an inode number \
                 or a path such as /proc/PID/ns/net",
                folder.display()
            )))
        }
    }
}

/// An inode number, as it is or as in `net:[4026531840]`.
fn inode(text: &str) -> Option<u32> {
    text.parse().ok().or_else(|| netns::inode_of(text))
}

/// What is in a folder, if anything is.
fn names(folder: &Path) -> Option<String> {
    let mut names: Vec<_> = folder
        .read_dir()
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort_unstable();
    (!names.is_empty()).then(|| names.join(", "))
}

fn netns_name(text: &str) -> Result<String, String> {
    if text.is_empty() {
        Err("expected an inode number, a name or a path".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// A path with a slash before each of its parts and none behind them.
fn cgroup_path(text: &str) -> Result<String, String> {
    let parts = || text.split('/').filter(|part| !matches!(*part, "" | "."));
    if text.is_empty() || parts().any(|part| part == "..") {
        return Err(
            "expected a path without '..' such as /system.slice/nginx.service, or / for all".to_owned()
        );
    }
    let path: String = parts().map(|part| format!("/{part}")).collect();
    Ok(if path.is_empty() { "/".to_owned() } else { path })
}

fn comm(text: &str) -> Result<String, String> {
    const COMM_MAX: usize = 15;
    match text.len() {
        0 => Err("the process name must not be empty".to_owned()),
        length if length > COMM_MAX => {
            let kept = String::from_utf8_lossy(&text.as_bytes()[..COMM_MAX]).into_owned();
            Err(format!("the kernel keeps only the first {COMM_MAX} bytes of a name: try {kept}"))
        }
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Typed {
        #[command(flatten)]
        filters: Filters,
    }

    fn typed(line: &str) -> Filters {
        Typed::try_parse_from(line.split(' ')).unwrap().filters
    }

    #[test]
    fn filters_are_lists() {
        let line = "x --port 80,443 --port 8080 --local-port 81 --peer-port 82 --addr 10.0.0.0/8,::1 --comm nginx,a \
                    --netns 7,net:[4026531840] --cgroup /a,/b/c/";
        let filter = typed(line).of_recording().unwrap();
        assert_eq!(filter.port, [80, 443, 8080]);
        assert_eq!((filter.local_port, filter.peer_port), (vec![81], vec![82]));
        assert_eq!(filter.addr, ["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()]);
        assert_eq!(filter.comm, ["nginx", "a"]);
        assert_eq!(filter.netns, [7, 4_026_531_840]);
        assert_eq!(filter.cgroup, ["/a", "/b/c"]);
        assert!(!filter.followed);
    }

    #[test]
    fn what_is_left_out_is_so_by_each_kind_alone() {
        let filter =
            typed("x --not-port 22,53 --not-comm curl --not-unit nginx --container 6B2A --connection c7.1")
                .of_recording()
                .unwrap();
        let expected = [
            Filter { comm: vec!["curl".to_owned()], ..Filter::default() },
            Filter { port: vec![22, 53], ..Filter::default() },
            Filter { unit: vec!["nginx.service".to_owned()], ..Filter::default() },
        ];
        assert_eq!(filter.not, expected);
        assert_eq!(
            (filter.container, filter.connection),
            (vec!["6b2a".to_owned()], vec!["c7.1".parse().unwrap()])
        );
        assert!(Typed::try_parse_from(["x", "--container", "web"]).is_err());
    }

    #[test]
    fn a_cgroup_is_a_path_in_the_hierarchy_wherever_that_is_mounted() {
        for (typed, mounted, expected) in [
            ("/system.slice/", None, "/system.slice"),
            ("system.slice//a/./b", None, "/system.slice/a/b"),
            ("/", None, "/"),
            ("/sys/fs/cgroup/a", None, "/a"),
            ("/sys/fs/cgroup", None, "/"),
            ("/sys/fs/cgroup2/a", None, "/sys/fs/cgroup2/a"),
            ("/sys/fs/cgroup/unified/a", Some("/sys/fs/cgroup/unified"), "/a"),
            ("/sys/fs/cgroup/unified/a", Some("/sys/fs/cgroup"), "/unified/a"),
            ("/mnt/cgroups/a", Some("/mnt/cgroups"), "/a"),
            ("/mnt/cgroups/a", Some("/sys/fs/cgroup"), "/mnt/cgroups/a"),
        ] {
            let path = cgroup_path(typed).unwrap();
            assert_eq!(within_hierarchy(&path, mounted), expected, "{typed} with {mounted:?}");
        }
        for bad in ["", "..", "/a/../b"] {
            assert!(cgroup_path(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_network_namespace_has_a_number_a_name_or_a_path() {
        let link = std::fs::read_link("/proc/self/ns/net").unwrap().to_string_lossy().into_owned();
        let own = netns::inode_of(&link).unwrap();
        let of =
            |name: &str| inode_of_name(name, Path::new("/proc/self/ns")).map_err(|error| error.to_string());
        for name in [&own.to_string(), &link, "/proc/self/ns/net", "net"] {
            assert_eq!(of(name), Ok(own), "{name}");
        }
        for (name, expected) in [
            ("mnt", "/proc/self/ns/mnt is not a network namespace"),
            ("/dev/null", "/dev/null is not a network namespace"),
            ("/no/such/file", "cannot open the network namespace /no/such/file: No such file"),
            ("blue", "no network namespace is named blue: /proc/self/ns contains "),
        ] {
            let error = of(name).unwrap_err();
            assert!(error.starts_with(expected), "{name}: {error}");
        }
    }

    #[test]
    fn a_recording_has_no_names_of_network_namespaces() {
        let error = typed("x --netns blue").of_recording().unwrap_err().to_string();
        assert!(error.starts_with("blue: recordings identify network namespaces by inode number"), "{error}");
    }
}
