//! A TCP segment with its addresses, to and from the bytes of an IP packet.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    Icmpv4Type, IpHeaders, NetSlice, PacketBuilder, PacketBuilderStep, SlicedPacket, TcpHeader,
    TransportSlice, icmpv4::DestUnreachableHeader,
};
use tcp_trace_model::{event::Flags, time::Time};

/// Hops that the packets of a scripted peer may take.
const TIME_TO_LIVE: u8 = 64;

/// A TCP segment, as the scripted peer sends or receives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// When it had been read; 0 for one that is to be sent.
    pub time: Time,
    /// Who sends it.
    pub source: SocketAddr,
    /// Who receives it.
    pub destination: SocketAddr,
    /// Control bits.
    pub flags: Flags,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number; counts only with ACK.
    pub ack: u32,
    /// Window, not scaled.
    pub window: u16,
    /// Payload.
    pub payload: Vec<u8>,
    /// The packet that it came in; empty for one that is to be sent.
    pub packet: Vec<u8>,
}

impl Segment {
    /// Sequence numbers that it takes: one a byte, one each for SYN and FIN.
    pub fn length_in_sequence(&self) -> u32 {
        let length = u32::try_from(self.payload.len()).expect("a segment is smaller than 64 KiB");
        length + u32::from(self.flags.has(Flags::SYN)) + u32::from(self.flags.has(Flags::FIN))
    }

    /// Whether its control bits are these, PSH aside.
    pub fn is(&self, flags: Flags) -> bool {
        Flags(self.flags.0 & !Flags::PSH.0) == flags
    }

    /// Reads an IP packet; `None` when it carries no TCP.
    pub(crate) fn parse(packet: &[u8], time: Time) -> Option<Self> {
        let sliced = SlicedPacket::from_ip(packet).expect("the kernel sends well-formed packets");
        let (source, destination): (IpAddr, IpAddr) = match sliced.net? {
            NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            NetSlice::Arp(_) => return None,
        };
        let TransportSlice::Tcp(tcp) = sliced.transport? else { return None };
        let header = tcp.to_header();
        Some(Self {
            time,
            source: (source, header.source_port).into(),
            destination: (destination, header.destination_port).into(),
            flags: flags_of(&header),
            seq: header.sequence_number,
            ack: header.acknowledgment_number,
            window: header.window_size,
            payload: tcp.payload().to_vec(),
            packet: packet.to_vec(),
        })
    }

    /// The IP packet, with its checksums and these options in the TCP header.
    pub(crate) fn to_packet(&self, options: &[u8]) -> Vec<u8> {
        let mut header = TcpHeader::new(self.source.port(), self.destination.port(), self.seq, self.window);
        header.acknowledgment_number = self.ack;
        let has = |flag| self.flags.has(flag);
        (header.fin, header.syn, header.rst) = (has(Flags::FIN), has(Flags::SYN), has(Flags::RST));
        (header.psh, header.ack) = (has(Flags::PSH), has(Flags::ACK));
        header.set_options_raw(options).expect("a header has room for 40 bytes of options");
        let builder = ip(self.source.ip(), self.destination.ip()).tcp_header(header);
        let mut packet = Vec::with_capacity(builder.size(self.payload.len()));
        builder.write(&mut packet, &self.payload).expect("a segment fits a packet");
        packet
    }

    /// The packet by which a router says that this segment's host cannot be reached (RFC 792, type 3,
    /// code 1).
    pub(crate) fn to_host_unreachable(&self) -> Vec<u8> {
        let why = Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Host);
        let builder = ip(self.destination.ip(), self.source.ip()).icmpv4(why);
        let mut packet = Vec::new();
        builder.write(&mut packet, &self.packet).expect("a header fits a packet");
        packet
    }
}

fn ip(source: IpAddr, destination: IpAddr) -> PacketBuilderStep<IpHeaders> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            PacketBuilder::ipv4(source.octets(), destination.octets(), TIME_TO_LIVE)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            PacketBuilder::ipv6(source.octets(), destination.octets(), TIME_TO_LIVE)
        }
        mixed => panic!("addresses of two IP versions: {mixed:?}"),
    }
}

fn flags_of(header: &TcpHeader) -> Flags {
    let set = [
        (header.fin, Flags::FIN),
        (header.syn, Flags::SYN),
        (header.rst, Flags::RST),
        (header.psh, Flags::PSH),
        (header.ack, Flags::ACK),
        (header.urg, Flags::URG),
        (header.ece, Flags::ECE),
        (header.cwr, Flags::CWR),
    ];
    set.into_iter().filter(|(is_set, _)| *is_set).fold(Flags::default(), |all, (_, flag)| all.with(flag))
}
