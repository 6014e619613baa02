//! Every TCP segment that a socket sends or receives: what [`decide`](tcp_trace_ebpf::decide) selects is reported.
//! Datagrams are handed on.

use aya_ebpf::{
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    helpers::{bpf_get_socket_cookie, bpf_ktime_get_ns},
    macros::cgroup_skb,
    programs::SkBuffContext,
};
use aya_log_ebpf::debug;
use tcp_trace_ebpf::{
    DIRECTION_IN, DIRECTION_OUT, ELISION_STARTS, IPPROTO_UDP, KIND_SEGMENT, RawEndpoints, RawHeader,
    RawSegment, ZERO_WINDOW,
    decide::{
        acceptance::{self, Timestamp},
        forget, pick,
        process::Verdict,
        segment::{self, MemoryUse},
        skip::{self, Detail},
    },
    skip_index, skip_until,
    tcp::{ACK, RST, SYN},
};

use super::{connect, datagram, translation};
use crate::{
    emit, filter,
    maps::{self, SKIP, SKIP_PROGRESS},
    packet, process_filter, sock,
};

/// What a cgroup_skb program returns to let the packet pass. There is no other here.
const PASS: i32 = 1;

/// `BPF_CGROUP_RUN_PROG_INET_EGRESS` in `ip_finish_output()` and `ip6_finish_output()`.
#[cgroup_skb]
pub(crate) fn segment_egress(ctx: SkBuffContext) -> i32 {
    if let Err(error) = try_segment(&ctx, DIRECTION_OUT) {
        debug!(&ctx, "segment of {} bytes out not understood: error {}", ctx.len(), error);
    }
    PASS
}

/// `BPF_CGROUP_RUN_PROG_INET_INGRESS` in `sk_filter_trim_cap()`, before the socket handles the segment.
#[cgroup_skb]
pub(crate) fn segment_ingress(ctx: SkBuffContext) -> i32 {
    if let Err(error) = try_segment(&ctx, DIRECTION_IN) {
        debug!(&ctx, "segment of {} bytes in not understood: error {}", ctx.len(), error);
    }
    PASS
}

#[inline(always)]
fn try_segment(ctx: &SkBuffContext, direction: u8) -> Result<(), i32> {
    // SAFETY: the context's fields are readable; `sk` is null or a socket that the verifier knows.
    let sk = unsafe { (*ctx.skb.skb).__bindgen_anon_2.sk };
    if sk.is_null() {
        return Ok(());
    }
    // With a port filter most packets on a host are excluded: those that arrive leave before anything is read of them.
    let own = sock::ports_of_packet(ctx);
    let is_connected = own.peer != 0;
    if is_connected
        && (direction == DIRECTION_IN && filter::is_excluded(own)
            || filter::is_packet_in_excluded_network(ctx, own.peer))
    {
        return Ok(());
    }
    let Some((offset, protocol)) = packet::transport(ctx)? else {
        return Ok(());
    };
    if protocol == IPPROTO_UDP {
        if process_filter::verdict(sk) == Verdict::ExcludedUnreported {
            return Ok(());
        }
        return datagram::try_datagram(ctx, sk, offset, direction);
    }
    let header = packet::tcp_header(ctx, offset)?;
    let ports = header.ports(direction);
    if !is_connected && filter::is_packet_in_excluded_network(ctx, ports.peer) {
        return Ok(());
    }
    if filter::are_ports_filtered() && (!is_connected || direction == DIRECTION_OUT) {
        let mask = unknown(ctx);
        let is_selected = translation::is_selected(sk, own, &header, direction, mask);
        if forget(is_selected.into(), mask) == 0 {
            return Ok(());
        }
        if is_connected && header.flags() & (SYN | ACK) == SYN {
            connect::report_held(ctx, sk)?;
        }
    }
    let verdict = process_filter::verdict(sk);
    if verdict == Verdict::ExcludedUnreported {
        return Ok(());
    }
    let flags = header.flags();
    if !verdict.admits(flags) {
        return Ok(());
    }
    let payload_offset = offset + header.length();
    let mut record = RawSegment {
        sequence: header.sequence(),
        acknowledgment: header.acknowledgment(),
        length: ctx.len().saturating_sub(payload_offset),
        direction,
        flags,
        // SAFETY: not null.
        state: unsafe { (*sk).state } as u8,
        // The window of an RST means nothing.
        attributes: if header.window() == 0 && flags & RST == 0 { ZERO_WINDOW } else { 0 },
        ..RawSegment::default()
    };
    let judged = Judged { ctx, header: &header, offset };
    let is_excluded = forget(verdict.is_excluded().into(), unknown(ctx)) != 0;
    if !note_and_decide(sk, &mut record, &judged) {
        return Ok(());
    }
    record.header = RawHeader {
        // SAFETY: the helper has no preconditions.
        time_ns: unsafe { bpf_ktime_get_ns() },
        // SAFETY: the pointer is this program's own context.
        cookie: unsafe { bpf_get_socket_cookie(ctx.skb.skb.cast()) },
        kind: KIND_SEGMENT,
        padding: 0,
    };
    let detail =
        if acceptance::is_progress(&record) { note_progress(sk, &mut record) } else { Detail::Payload };
    if detail == Detail::Nothing {
        return Ok(());
    }
    record.endpoints =
        RawEndpoints { local_port: ports.local, peer_port: ports.peer, ..packet::addresses(ctx, direction)? };
    if is_connected && direction == DIRECTION_OUT {
        translation::report(ctx, sk, &record);
    }
    if segment::names_netns(&record) {
        record.netns = sock::netns_of_packet(ctx)?;
    }
    let has_payload = record.length > 0 && acceptance::has_payload(&record);
    if !has_payload || detail == Detail::Header || is_excluded {
        emit::record(record);
    } else {
        if direction == DIRECTION_IN
            && acceptance::may_be_unverified(header.length() + record.length)
            && !sock::is_checksum_verified(ctx).unwrap_or(true)
        {
            record.endpoints.unverified_sum =
                packet::header_sum(ctx, offset, header.length()).unwrap_or_default();
        }
        emit::segment_with_payload(ctx, record, payload_offset);
    }
    Ok(())
}

/// A number that the verifier does not know, for [`forget`].
#[inline(always)]
fn unknown(ctx: &SkBuffContext) -> u32 {
    // SAFETY: the context's fields are readable. Read volatile, so that it is read again.
    unsafe { (&raw const (*ctx.skb.skb).len).read_volatile() }
}

/// Where a segment lies that is judged.
struct Judged<'a> {
    ctx: &'a SkBuffContext,
    header: &'a packet::TcpHeader,
    /// Of the TCP header.
    offset: u32,
}

impl Judged<'_> {
    /// What the kernel will make of the segment that arrives at this socket, as bits of the record's attributes.
    #[inline(always)]
    fn attributes(&self, sk: *mut bpf_sock, record: &RawSegment) -> u8 {
        let Some(receiver) = sock::receiver(sk) else { return acceptance::Judgment::TAKEN.attributes() };
        let timestamp = self.timestamp(receiver);
        let verdict = acceptance::judge(record, &receiver.numbers(), timestamp);
        forget(verdict.attributes().into(), unknown(self.ctx)) as u8
    }

    /// One that is not where the kernel puts it, or cannot be read, counts as none.
    #[inline(always)]
    fn timestamp(&self, receiver: sock::Receiver) -> Timestamp {
        if !acceptance::may_have_timestamp(self.header.length()) {
            return Timestamp::Passes;
        }
        let (recent, recent_at) = receiver.recent_timestamp();
        if recent == 0 {
            return Timestamp::Passes;
        }
        let value = packet::timestamp(self.ctx, self.offset).unwrap_or(0);
        if value == 0 || acceptance::is_recent(value, recent) {
            return Timestamp::Passes;
        }
        // SAFETY: the helper has no preconditions.
        acceptance::late_timestamp(recent_at, unsafe { bpf_ktime_get_ns() })
    }
}

/// Whether a segment is reported; what it changes is remembered at its socket, unless the kernel refuses it.
#[inline(always)]
fn note_and_decide(sk: *mut bpf_sock, record: &mut RawSegment, judged: &Judged<'_>) -> bool {
    let memory = match segment::memory_use(record) {
        MemoryUse::None => core::ptr::null_mut(),
        MemoryUse::IfPresent => maps::memory(sk, 0),
        MemoryUse::Create => maps::memory(sk, BPF_SK_STORAGE_GET_F_CREATE),
    };
    // What is remembered of nothing is zeros.
    let mut known = segment::DirectionMemory::default();
    if !memory.is_null() {
        // SAFETY: not null, so valid for this run.
        known = *pick(unsafe { &(*memory).directions }, record.direction);
    }
    let mut decision = segment::decide(record, Some(known)).forgotten(unknown(judged.ctx));
    if decision.is_reported && record.direction == DIRECTION_IN && acceptance::is_judged(record.state) {
        record.attributes |= judged.attributes(sk, record);
        acceptance::forget_judged(record, unknown(judged.ctx));
        let verdict = acceptance::verdict_of(record);
        if !verdict.is_taken() {
            // What acknowledges it shows that it was taken nevertheless.
            let end = segment::end(record);
            let awaited = (verdict.is_unsure && end != record.sequence).then_some(end);
            decision.changes = segment::Changes { awaited, is_unsure: true, ..segment::Changes::default() };
            if awaited.is_some() {
                let memory = maps::memory(sk, BPF_SK_STORAGE_GET_F_CREATE);
                if !memory.is_null() {
                    // SAFETY: not null, so valid for this run.
                    decision.changes.apply(unsafe { &mut (*memory).directions }, record.direction);
                }
            }
            return true;
        }
    }
    if !memory.is_null() {
        // SAFETY: not null, so valid for this run.
        decision.changes.apply(unsafe { &mut (*memory).directions }, record.direction);
    }
    decision.is_reported
}

/// How much of a segment is reported. In a direction whose payload is skipped, the progress is remembered, and the record
/// says how far the direction had come.
#[inline(always)]
fn note_progress(sk: *mut bpf_sock, record: &mut RawSegment) -> Detail {
    if !skip::concerns(record) {
        return Detail::Payload;
    }
    let index = skip_index(record.header.cookie, record.direction);
    let (Some(entry), Some(progress)) = (SKIP.get_ptr(index), SKIP_PROGRESS.get_ptr_mut(index)) else {
        return Detail::Payload;
    };
    // SAFETY: the pointer is to a word of the map. Read volatile: user space writes it at any time.
    let entry = unsafe { entry.read_volatile() };
    let Some(until) = skip_until(entry, record.header.cookie) else {
        return Detail::Payload;
    };
    // SAFETY: the pointer is to an element of the map. Segments of one direction of a socket do not pass at the same time;
    // where another socket takes the place meanwhile, its cookie differs.
    let elision = skip::decide(record, until, unsafe { progress.read_volatile() });
    if let Some(mut changed) = elision.progress {
        if record.direction == DIRECTION_OUT && elision.attributes == ELISION_STARTS {
            let sent_to = sock::receiver(sk).map_or(changed.next, |socket| socket.numbers().snd_nxt);
            changed = skip::begin(changed, sent_to);
        }
        // SAFETY: as above.
        unsafe { progress.write_volatile(changed) };
    }
    record.attributes |= elision.attributes;
    record.elided_to = elision.elided_to;
    record.elided_age_us = elision.elided_age_us;
    elision.detail
}
