//! The headers of a packet: addresses, and the TCP header.

use core::arch::asm;

use aya_ebpf::{helpers::bpf_skb_load_bytes, programs::SkBuffContext};
use tcp_trace_ebpf::{
    AF_INET, AF_INET6, Bytes16, DIRECTION_OUT, IPPROTO_TCP, IPPROTO_UDP, RawEndpoints,
    decide::translation::Ports,
};

/// Extension headers that are looked behind for the TCP header (RFC 8200, section 4.1).
const EXTENSION_HEADERS_MAX: usize = 4;

/// 4 bytes of an address. Two bytes are the alignment that a network header has.
type Word = [u16; 2];

/// Where an IPv4 header has its protocol, and its two addresses (RFC 791, section 3.1).
const IPV4_PROTOCOL: u32 = 9;
const IPV4_ADDRESSES: u32 = 12;
/// Where an IPv6 header has the next header's number, and its two addresses; its length (RFC 8200, section 3).
const IPV6_NEXT: u32 = 6;
const IPV6_ADDRESSES: u32 = 8;
const IPV6_LENGTH: u32 = 40;

/// RFC 9293, section 3.1, without options; numbers in network byte order. Aligned as the network header is.
#[repr(C, packed(2))]
#[derive(Clone, Copy)]
pub(crate) struct TcpHeader {
    source: u16,
    destination: u16,
    sequence: u32,
    acknowledgment: u32,
    offset: u8,
    flags: u8,
    window: u16,
    checksum: u16,
    urgent: u16,
}

impl TcpHeader {
    /// Length with its options, in bytes.
    #[inline(always)]
    pub(crate) fn length(&self) -> u32 {
        u32::from(self.offset >> 4) * 4
    }

    #[inline(always)]
    pub(crate) fn sequence(&self) -> u32 {
        u32::from_be(self.sequence)
    }

    #[inline(always)]
    pub(crate) fn acknowledgment(&self) -> u32 {
        u32::from_be(self.acknowledgment)
    }

    /// Control bits.
    #[inline(always)]
    pub(crate) fn flags(&self) -> u8 {
        self.flags
    }

    #[inline(always)]
    pub(crate) fn window(&self) -> u16 {
        u16::from_be(self.window)
    }

    /// Ports of a segment in this direction.
    #[inline(always)]
    pub(crate) fn ports(&self, direction: u8) -> Ports {
        let (source, destination) = (u16::from_be(self.source), u16::from_be(self.destination));
        if direction == DIRECTION_OUT {
            Ports { local: source, peer: destination }
        } else {
            Ports { local: destination, peer: source }
        }
    }
}

/// What lies at `offset` of the packet: read in place where the kernel holds it in one piece, as it does with most
/// headers, else copied.
#[inline(always)]
fn read<T: Copy>(ctx: &SkBuffContext, offset: u32) -> Result<T, i32> {
    // SAFETY: the context's fields are readable.
    let (data, end) = unsafe { ((*ctx.skb.skb).data as usize, (*ctx.skb.skb).data_end as usize) };
    let mut start = data;
    // SAFETY: an addition. Written so, the compiler adds up in no other order: the verifier knows the bounds of the
    // very pointer that is compared, and of no other.
    unsafe { asm!("{0} += {1}", inout(reg) start, in(reg) u64::from(offset), options(pure, nomem, nostack)) };
    if start + size_of::<T>() <= end {
        // SAFETY: it lies between `data` and `data_end`, which the verifier checks.
        return Ok(unsafe { (start as *const T).read() });
    }
    ctx.load(offset as usize).map_err(|error| error as i32)
}

/// The TCP header that starts at `offset`.
#[inline(always)]
pub(crate) fn tcp_header(ctx: &SkBuffContext, offset: u32) -> Result<TcpHeader, i32> {
    read(ctx, offset)
}

/// The timestamp of the TCP header that starts at `offset`, where the kernel puts it (RFC 7323, appendix A); 0 when there are other
/// options in that place.
#[inline(always)]
pub(crate) fn timestamp(ctx: &SkBuffContext, offset: u32) -> Result<u32, i32> {
    /// Two of no operation, timestamps, and their length.
    const ALIGNED: u32 = 0x0101_080a;
    let [kinds, value]: [Word; 2] = read(ctx, offset + size_of::<TcpHeader>() as u32)?;
    // SAFETY: both are 4 bytes without padding.
    let number = |word: Word| u32::from_be(unsafe { core::mem::transmute::<Word, u32>(word) });
    Ok(if number(kinds) == ALIGNED { number(value) } else { 0 })
}

/// The sum of a TCP header that starts at `offset` (RFC 1071), of its length and of the number of TCP, as the checksum has them.
#[inline(always)]
pub(crate) fn header_sum(ctx: &SkBuffContext, offset: u32, length: u32) -> Result<u16, i32> {
    const LENGTH_MAX: usize = 64;
    let mut header = [0_u16; LENGTH_MAX / 2];
    // The verifier has to see both bounds on the very register that it checks.
    let bytes = (core::hint::black_box(length - 1) & (LENGTH_MAX as u32 - 1)) + 1;
    // SAFETY: there is room for LENGTH_MAX bytes.
    let result = unsafe {
        bpf_skb_load_bytes(ctx.skb.skb.cast_const().cast(), offset, header.as_mut_ptr().cast(), bytes)
    };
    if result != 0 {
        return Err(result as i32);
    }
    let mut sum = u32::from((length as u16).to_be()) + u32::from(u16::from(IPPROTO_TCP).to_be());
    for word in header {
        sum += u32::from(word);
    }
    sum = (sum & 0xffff) + (sum >> 16);
    Ok(((sum & 0xffff) + (sum >> 16)) as u16)
}

/// Where the header behind the IP headers starts, and its protocol; `None` when that is neither TCP nor UDP.
#[inline(always)]
pub(crate) fn transport(ctx: &SkBuffContext) -> Result<Option<(u32, u8)>, i32> {
    let first: u8 = read(ctx, 0)?;
    if first >> 4 != 4 {
        return behind_extension_headers(ctx, read(ctx, IPV6_NEXT)?);
    }
    let protocol: u8 = read(ctx, IPV4_PROTOCOL)?;
    let is_known = protocol == IPPROTO_TCP || protocol == IPPROTO_UDP;
    Ok(is_known.then_some((u32::from(first & 0x0f) * 4, protocol)))
}

/// Both addresses, without ports.
#[inline(always)]
pub(crate) fn addresses(ctx: &SkBuffContext, direction: u8) -> Result<RawEndpoints, i32> {
    let mut endpoints = RawEndpoints::default();
    let first: u8 = read(ctx, 0)?;
    // SAFETY: both are 4 bytes without padding.
    let word = |word: Word| unsafe { core::mem::transmute::<Word, u32>(word) };
    let (source, destination);
    if first >> 4 == 4 {
        let [from, to]: [Word; 2] = read(ctx, IPV4_ADDRESSES)?;
        source = Bytes16([word(from), 0, 0, 0]);
        destination = Bytes16([word(to), 0, 0, 0]);
        endpoints.family = AF_INET;
    } else {
        let [from, to]: [[Word; 4]; 2] = read(ctx, IPV6_ADDRESSES)?;
        (source, destination) = (Bytes16(from.map(word)), Bytes16(to.map(word)));
        endpoints.family = AF_INET6;
    }
    (endpoints.local_address, endpoints.peer_address) =
        if direction == DIRECTION_OUT { (source, destination) } else { (destination, source) };
    Ok(endpoints)
}

/// Where the TCP or UDP header starts in an IPv6 packet whose fixed header names `next` (RFC 8200, section 4), and
/// which of the two it is.
#[inline(always)]
fn behind_extension_headers(ctx: &SkBuffContext, mut next: u8) -> Result<Option<(u32, u8)>, i32> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const DESTINATION: u8 = 60;
    let mut offset = IPV6_LENGTH;
    for _ in 0..EXTENSION_HEADERS_MAX {
        match next {
            IPPROTO_TCP | IPPROTO_UDP => return Ok(Some((offset, next))),
            HOP_BY_HOP | ROUTING | DESTINATION => {
                let header: [u8; 2] = ctx.load(offset as usize).map_err(|error| error as i32)?;
                next = header[0];
                offset += (u32::from(header[1]) + 1) * 8;
            }
            _ => return Ok(None),
        }
    }
    Ok(None)
}
