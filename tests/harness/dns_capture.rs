//! The witness of lookups: tshark on a namespace's loopback.

use std::{
    io::{BufRead as _, BufReader},
    net::UdpSocket,
    os::fd::AsFd as _,
    process::{ChildStdout, Stdio},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{Folder, Namespace, Running, wait_for};

/// An answer that was captured.
#[derive(Clone, Debug, PartialEq)]
pub struct CapturedAnswer {
    /// The queried name.
    pub name: String,
    /// The number of the type.
    pub kind: u16,
    /// The number of the answer's code.
    pub rcode: u16,
    /// IPv4 addresses, with commas between them.
    pub addresses: String,
    /// From the question to the answer, in microseconds.
    pub duration_us: f64,
}

/// tshark on the loopback of a namespace, capturing DNS by UDP.
#[derive(Debug)]
pub struct DnsCapture {
    lines: BufReader<ChildStdout>,
    _process: Running,
}

impl DnsCapture {
    /// Starts it and waits until it captures.
    pub fn start(namespace: &Namespace) -> Self {
        let folder = Folder::new();
        let mut command = namespace.command("tshark");
        command.args(["-i", "lo", "-l", "-Q", "-f", "udp port 53", "-T", "fields"]);
        for field in ["flags.response", "qry.name", "qry.type", "flags.rcode", "a", "time"] {
            command.args(["-e", &format!("dns.{field}")]);
        }
        command.env("HOME", folder.path()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Running::start(&mut command);
        let lines = BufReader::new(process.0.stdout.take().expect("it is piped"));
        let capture = Self { lines, _process: process };
        let socket = namespace.run(|| UdpSocket::bind("127.0.0.1:0")).expect("a port can be had");
        // It says nothing when it is ready: something is sent until it shows that.
        wait_for("tshark to capture", || {
            socket.send_to(b"x", "127.0.0.1:53").expect("loopback takes everything");
            let mut fds = [PollFd::from_borrowed_fd(capture.lines.get_ref().as_fd(), PollFlags::IN)];
            let none = Timespec { tv_sec: 0, tv_nsec: 0 };
            let count = poll(&mut fds, Some(&none)).expect("a pipe can be polled");
            (count > 0).then_some(())
        });
        capture
    }

    /// The next answer.
    pub fn next_answer(&mut self) -> CapturedAnswer {
        loop {
            let mut line = String::new();
            let length = self.lines.read_line(&mut line).expect("tshark prints text");
            assert!(length > 0, "tshark goes on");
            let fields: Vec<_> = line.trim_end_matches('\n').split('\t').collect();
            let [is_response, name, kind, rcode, addresses, time] = fields[..] else { continue };
            if matches!(is_response, "1" | "True") {
                return CapturedAnswer {
                    name: name.to_owned(),
                    kind: kind.parse().expect("a number"),
                    rcode: rcode.parse().expect("a number"),
                    addresses: addresses.to_owned(),
                    duration_us: time.parse::<f64>().expect("seconds") * 1e6,
                };
            }
        }
    }
}
