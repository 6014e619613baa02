//! The witness of segments: tshark on loopback.

use std::{
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, TcpStream},
    os::fd::AsFd as _,
    process::{ChildStdout, Command, Stdio},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{Folder, Running, wait_for};

/// A captured segment: source port, flags, sequence and acknowledgment number, length.
pub type Captured = (u16, u8, u32, u32, u32);

/// tshark on loopback, capturing one port.
#[derive(Debug)]
pub struct Tshark {
    lines: BufReader<ChildStdout>,
    _process: Running,
}

impl Tshark {
    /// Starts it and waits until it captures.
    pub fn start(port: u16) -> Self {
        let folder = Folder::new();
        let mut command = Command::new("tshark");
        command.args(["-i", "lo", "-l", "-Q", "-f", &format!("tcp port {port}"), "-T", "fields"]);
        for field in ["srcport", "flags", "seq_raw", "ack_raw", "len"] {
            command.args(["-e", &format!("tcp.{field}")]);
        }
        command.env("HOME", folder.path()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Running::start(&mut command);
        let lines = BufReader::new(process.0.stdout.take().expect("it is piped"));
        let tshark = Self { lines, _process: process };
        // It says nothing when it is ready: refused connections are made until it shows one.
        wait_for("tshark to capture", || {
            // The port is closed, so the answer is an RST; both pass the filter.
            let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
            tshark.has_output().then_some(())
        });
        tshark
    }

    fn has_output(&self) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(self.lines.get_ref().as_fd(), PollFlags::IN)];
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&none)).expect("a pipe can be polled") > 0
    }

    /// The next segment.
    pub fn next_segment(&mut self) -> Option<Captured> {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("tshark prints text");
        let fields: Vec<_> = line.trim_end().split('\t').collect();
        let [port, flags, seq, ack, length] = fields.as_slice() else { return None };
        let flags = u16::from_str_radix(flags.trim_start_matches("0x"), 16).expect("flags");
        Some((
            port.parse().expect("a port"),
            u8::try_from(flags & 0xff).expect("masked"),
            seq.parse().expect("a number"),
            ack.parse().expect("a number"),
            length.parse().expect("a number"),
        ))
    }
}
