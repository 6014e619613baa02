//! The witness of state changes: the kernel's own text of `sock:inet_sock_set_state`, from tracefs.

use tcp_trace_model::time::Time;

use crate::tracefs::{Instance, time_of, wall_offset_ns};

/// The tracepoint.
const EVENT: &str = "inet_sock_set_state";

/// A tracefs instance that prints `sock:inet_sock_set_state` of one port, removed with its handle.
#[derive(Debug)]
pub struct KernelText {
    instance: Instance,
    port: u16,
}

/// One line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelLine {
    /// When, by the wall clock.
    pub time: Time,
    /// The socket's port; 0 while it has none.
    pub local_port: u16,
    /// The other end's; 0 when there is none.
    pub peer_port: u16,
    /// The state left, without `TCP_`.
    pub old: String,
    /// The state entered.
    pub new: String,
}

impl KernelText {
    /// Starts printing what concerns a port, at either end.
    pub fn start(port: u16) -> Self {
        let instance = Instance::new().expect("root can use tracefs");
        let event = format!("events/sock/{EVENT}");
        instance.write(&format!("{event}/filter"), &format!("sport == {port} || dport == {port}"));
        instance.write(&format!("{event}/enable"), "1");
        Self { instance, port }
    }

    /// The lines so far.
    pub fn lines(&self) -> Vec<KernelLine> {
        let offset_ns = wall_offset_ns();
        let lines = self.instance.lines().into_iter();
        let tcp = lines.filter(|line| line.contains("protocol=IPPROTO_TCP"));
        let parsed: Vec<_> = tcp.map(|line| parse(&line, offset_ns)).collect();
        let is_asked = |line: &KernelLine| line.local_port == self.port || line.peer_port == self.port;
        assert!(parsed.iter().all(is_asked), "tracefs filters by port");
        parsed
    }
}

fn parse(line: &str, offset_ns: u64) -> KernelLine {
    let field = |name: &str| {
        let value = line.split_once(&format!(" {name}=")).unwrap_or_else(|| panic!("no {name}: {line}")).1;
        value.split(' ').next().unwrap_or_default().to_owned()
    };
    KernelLine {
        time: time_of(line, EVENT, offset_ns),
        local_port: field("sport").parse().expect("a port"),
        peer_port: field("dport").parse().expect("a port"),
        old: field("oldstate").trim_start_matches("TCP_").to_owned(),
        new: field("newstate").trim_start_matches("TCP_").to_owned(),
    }
}
