//! tshark's dissection of TLS, in a network namespace.

use std::{
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, TcpStream},
    os::fd::AsFd as _,
    process::{ChildStdout, Stdio},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tcp_trace_tests::{Folder, Namespace, Running, free_port, wait_for};

/// What is asked of each packet.
const FIELDS: [&str; 8] = [
    "tcp.srcport",
    "tcp.dstport",
    "tls.handshake.type",
    "tls.handshake.ciphersuite",
    "tls.handshake.extensions.supported_version",
    "tls.handshake.extensions_key_share_group",
    "tls.alert_message.desc",
    "tls.record.length",
];

/// A packet with TLS, as tshark dissects it: values as it prints them.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) is_client: bool,
    /// Types of handshake messages.
    pub(crate) messages: Vec<String>,
    pub(crate) ciphers: Vec<String>,
    pub(crate) versions: Vec<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) alerts: Vec<String>,
    /// Lengths of the records that end in it.
    pub(crate) lengths: Vec<u64>,
}

/// A running tshark.
#[derive(Debug)]
pub(crate) struct Capture<'a> {
    lines: BufReader<ChildStdout>,
    _process: Running,
    port: u16,
    /// A closed port: a refused connect to it shows how far it has captured.
    marker: u16,
    namespace: &'a Namespace,
}

impl<'a> Capture<'a> {
    /// Starts it and waits until it captures.
    pub(crate) fn start(namespace: &'a Namespace, port: u16) -> Self {
        let (folder, marker) = (Folder::new(), free_port());
        let mut command = namespace.command("tshark");
        command.args(["-i", "lo", "-l", "-Q", "-f", &format!("tcp port {port} or tcp port {marker}")]);
        command.args(["-d", &format!("tcp.port=={port},tls"), "-T", "fields"]);
        for field in FIELDS {
            command.args(["-e", field]);
        }
        command.env("HOME", folder.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Running::start(&mut command);
        let lines = BufReader::new(process.0.stdout.take().expect("it is piped"));
        let capture = Self { lines, _process: process, port, marker, namespace };
        // It says nothing when it is ready: connects are refused until it shows one.
        wait_for("tshark to capture", || {
            capture.mark();
            let mut fds = [PollFd::from_borrowed_fd(capture.lines.get_ref().as_fd(), PollFlags::IN)];
            let none = Timespec { tv_sec: 0, tv_nsec: 0 };
            (poll(&mut fds, Some(&none)).expect("a pipe can be polled") > 0).then_some(())
        });
        capture
    }

    /// Makes a connect that is refused.
    fn mark(&self) {
        let refused = self.namespace.run(|| TcpStream::connect((Ipv4Addr::LOCALHOST, self.marker)));
        refused.expect_err("nobody listens there");
    }

    /// What it has captured until now of the port.
    pub(crate) fn end(mut self) -> Vec<Packet> {
        // The marks before the session are those that it has shown by then: one more comes last.
        self.mark();
        let (mut packets, mut has_begun) = (Vec::new(), false);
        loop {
            let mut line = String::new();
            self.lines.read_line(&mut line).expect("tshark prints text");
            let fields: Vec<_> = line.trim_end_matches('\n').split('\t').collect();
            let ports = [fields[0], fields[1]].map(|port| port.parse::<u16>().expect("a port"));
            if ports.contains(&self.marker) {
                if has_begun {
                    return packets;
                }
                continue;
            }
            has_begun = true;
            let values = |index: usize| {
                fields[index].split(',').filter(|value| !value.is_empty()).map(str::to_owned).collect()
            };
            let numbers = |index: usize| -> Vec<u64> {
                let values: Vec<String> = values(index);
                values.iter().map(|value| value.parse().expect("a number")).collect()
            };
            packets.push(Packet {
                is_client: ports[1] == self.port,
                messages: values(2),
                ciphers: values(3),
                versions: values(4),
                groups: values(5),
                alerts: values(6),
                lengths: numbers(7),
            });
        }
    }
}
