//! UDP datagrams to and from DNS servers: reported with their payload, and a note that their sender is awaited.

use aya_ebpf::{
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    helpers::{bpf_get_socket_cookie, bpf_ktime_get_ns},
    programs::SkBuffContext,
};
use tcp_trace_ebpf::{DIRECTION_OUT, DNS_PORT, KIND_DATAGRAM, RawDatagram, RawEndpoints, RawHeader};

use crate::{emit, maps, packet, sock};

/// Length of a UDP header (RFC 768).
const UDP_HEADER: u32 = 8;

/// Reports a datagram whose UDP header starts at `udp_offset`, if its other end is a DNS server.
#[inline(always)]
pub(super) fn try_datagram(
    ctx: &SkBuffContext,
    sk: *mut bpf_sock,
    udp_offset: u32,
    direction: u8,
) -> Result<(), i32> {
    let header: [u8; UDP_HEADER as usize] = ctx.load(udp_offset as usize).map_err(|error| error as i32)?;
    let ports = [u16::from_be_bytes([header[0], header[1]]), u16::from_be_bytes([header[2], header[3]])];
    let (local_port, peer_port) =
        if direction == DIRECTION_OUT { (ports[0], ports[1]) } else { (ports[1], ports[0]) };
    // A socket that is connected says itself where to, whatever port its question is translated to.
    let own = sock::ports_of_packet(ctx);
    let is_connected = own.peer != 0;
    if peer_port != DNS_PORT && own.peer != DNS_PORT {
        return Ok(());
    }
    if direction == DIRECTION_OUT {
        await_sender(sk);
    }
    let payload_offset = udp_offset + UDP_HEADER;
    let addresses = RawEndpoints { local_port, peer_port, ..packet::addresses(ctx, direction)? };
    let datagram = RawDatagram {
        header: RawHeader {
            // SAFETY: the helper has no preconditions.
            time_ns: unsafe { bpf_ktime_get_ns() },
            // SAFETY: the pointer is this program's own context.
            cookie: unsafe { bpf_get_socket_cookie(ctx.skb.skb.cast()) },
            kind: KIND_DATAGRAM,
            padding: 0,
        },
        endpoints: if is_connected { sock::endpoints_of_packet(ctx, addresses.family) } else { addresses },
        length: ctx.len().saturating_sub(payload_offset),
        captured: 0,
        netns: sock::netns_of_packet(ctx)?,
        direction,
        padding: [0; 3],
    };
    if datagram.length == 0 {
        emit::record(datagram);
    } else {
        emit::datagram_with_payload(ctx, datagram, payload_offset);
    }
    Ok(())
}

/// Notes that a question leaves the socket: the send that it belongs to ends in the context of its process, which
/// is then reported. This program may run in any context.
#[inline(always)]
fn await_sender(sk: *mut bpf_sock) {
    let memory = maps::memory(sk, BPF_SK_STORAGE_GET_F_CREATE);
    if !memory.is_null() {
        // SAFETY: not null, so valid for this run.
        unsafe { (*memory).sender_awaited = 1 };
    }
}
