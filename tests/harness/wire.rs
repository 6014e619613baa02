//! The remote host, played by the test segment by segment, through a TUN device.

use std::{
    cell::RefCell,
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::{fd::AsFd as _, unix::fs::OpenOptionsExt as _},
    path::Path,
    process::Command,
    sync::Once,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::OFlags,
    ioctl,
};
use tcp_trace_model::event::Flags;

use crate::{InterfaceRequest, Namespace, PATIENCE, Peer, Segment, TimeWindow, now, output, while_doing};

/// `TUNSETIFF` and flags (`include/uapi/linux/if_tun.h`): IP packets, without a header of the device's own.
const TUN_SET_INTERFACE: ioctl::Opcode = 0x4004_54ca;
const TUN_OF_IP: u16 = 0x0001 | 0x1000;
/// The device's name in its namespace.
const NAME: &str = "tun0";
/// Largest packet that passes: the device's MTU is 1500.
const PACKET_MAX: usize = 2048;

/// A TUN device in a namespace: the kernel's TCP is at one end, the test at the other.
#[derive(Debug)]
pub struct Wire {
    tun: File,
    addresses: WireAddresses,
    /// Segments that were read and not used yet.
    pending: RefCell<VecDeque<Segment>>,
}

/// Addresses at the wire: the kernel's and the scripted peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireAddresses {
    /// The kernel under test.
    pub local: IpAddr,
    /// The remote host.
    pub remote: IpAddr,
}

impl WireAddresses {
    /// IPv4 addresses that no other process of tests has.
    pub fn ipv4() -> Self {
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let host = |host| Ipv4Addr::new(10, high, low, host).into();
        Self { local: host(1), remote: host(2) }
    }

    /// IPv6 addresses that no other process of tests has.
    pub fn ipv6() -> Self {
        let [a, b, c, d] = std::process::id().to_be_bytes().map(u16::from);
        let host = |host| Ipv6Addr::new(0xfd98, a << 8 | b, c << 8 | d, 0, 0, 0, 0, host).into();
        Self { local: host(1), remote: host(2) }
    }
}

impl Wire {
    /// Makes the device in a namespace, with these addresses on it.
    pub fn new(namespace: &Namespace, addresses: WireAddresses) -> Self {
        let tun = namespace.run(open);
        let prefix = if addresses.local.is_ipv4() { 24 } else { 64 };
        let address = format!("{}/{prefix}", addresses.local);
        let mut add = vec!["address", "add", &address, "dev", NAME];
        // Without duplicate address detection the address can be used at once.
        add.extend(addresses.local.is_ipv6().then_some("nodad"));
        output(namespace.command("ip").args(add));
        output(namespace.command("ip").args(["link", "set", NAME, "up"]));
        Self { tun, addresses, pending: RefCell::default() }
    }

    /// A remote socket with this port, for the kernel's at `local`. Nothing is sent yet.
    pub fn peer(&self, local: SocketAddr, port: u16) -> Peer<'_> {
        Peer::new(self, local, (self.addresses.remote, port).into())
    }

    /// Waits until the kernel connects to `remote`, and gives the remote socket that has the SYN.
    pub fn accept(&self, remote: SocketAddr) -> (Peer<'_>, Segment) {
        let syn = self.expect("a SYN", |segment| segment.destination == remote && segment.is(Flags::SYN));
        let mut peer = self.peer(syn.source, remote.port());
        peer.note(&syn);
        (peer, syn)
    }

    /// Sends a segment. Its arrival at the kernel's socket is within the moment given back.
    pub fn send(&self, segment: &Segment) -> TimeWindow {
        self.send_with_options(segment, &[])
    }

    /// The same with options in the TCP header, whole words.
    pub fn send_with_options(&self, segment: &Segment, options: &[u8]) -> TimeWindow {
        self.write(&segment.to_packet(options))
    }

    /// Sends a segment with a wrong checksum.
    pub fn send_spoiled(&self, segment: &Segment) -> TimeWindow {
        /// Where the TCP header has it (RFC 9293, section 3.1).
        const CHECKSUM: usize = 16;
        let mut packet = segment.to_packet(&[]);
        let header = if segment.source.is_ipv4() { 20 } else { 40 };
        packet[header + CHECKSUM] ^= 0x55;
        self.write(&packet)
    }

    /// Says that the host that a segment is for cannot be reached, as a router would.
    pub fn send_host_unreachable(&self, segment: &Segment) -> TimeWindow {
        self.write(&segment.to_host_unreachable())
    }

    fn write(&self, packet: &[u8]) -> TimeWindow {
        while_doing(|| {
            let written = (&self.tun).write(packet).expect("a TUN device takes packets");
            assert_eq!(written, packet.len(), "a TUN device takes whole packets");
        })
    }

    /// The next segment that `is_it`, of those not given out yet, or fails with what `what` says.
    pub fn expect(&self, what: &str, is_it: impl FnMut(&Segment) -> bool) -> Segment {
        let found = self.receive(PATIENCE, is_it);
        found.unwrap_or_else(|| {
            panic!("waited {PATIENCE:?} in vain for {what}; pending: {:#?}", self.pending.borrow())
        })
    }

    /// The next segment that `is_it`, if one comes within this time.
    pub fn receive(&self, patience: Duration, mut is_it: impl FnMut(&Segment) -> bool) -> Option<Segment> {
        let deadline = Instant::now() + patience;
        let mut pending = self.pending.borrow_mut();
        if let Some(index) = pending.iter().position(&mut is_it) {
            return pending.remove(index);
        }
        loop {
            match self.read(deadline) {
                Some(segment) if is_it(&segment) => return Some(segment),
                Some(segment) => pending.push_back(segment),
                None => return None,
            }
        }
    }

    /// The next segment from the device, until the deadline.
    fn read(&self, deadline: Instant) -> Option<Segment> {
        let mut packet = [0; PACKET_MAX];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).expect("a deadline is near");
            let mut fds = [PollFd::from_borrowed_fd(self.tun.as_fd(), PollFlags::IN)];
            if poll(&mut fds, Some(&left)).expect("a TUN device can be polled") == 0 {
                return None;
            }
            let length = (&self.tun).read(&mut packet).expect("poll says that there is a packet");
            // Other packets are the business of IPv6: router solicitations and such.
            if let Some(segment) = Segment::parse(&packet[..length], now()) {
                return Some(segment);
            }
        }
    }
}

/// Opens a TUN device in this thread's network namespace.
fn open() -> File {
    static NODE: Once = Once::new();
    let path = Path::new("/dev/net/tun");
    NODE.call_once(|| {
        if !path.exists() {
            std::fs::create_dir_all("/dev/net").expect("root can write below /dev");
            output(Command::new("mknod").args(["/dev/net/tun", "c", "10", "200"]));
        }
    });
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(nonblocking);
    let tun = options.open(path).unwrap_or_else(|error| {
        panic!("the tests need TUN devices (CONFIG_TUN): cannot open {}: {error}", path.display())
    });
    let mut request = InterfaceRequest::new(NAME, TUN_OF_IP);
    // SAFETY: TUNSETIFF reads a `struct ifreq`, which the request is, and writes the device's name into it.
    unsafe { ioctl::ioctl(&tun, ioctl::Updater::<TUN_SET_INTERFACE, _>::new(&mut request)) }
        .expect("root can make a TUN device");
    tun
}
