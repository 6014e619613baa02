//! Segments whose addresses the host translates: which of them the filter selects, and a record of both pairs of addresses
//! once per socket. See [`decide::translation`](tcp_trace_ebpf::decide::translation).

use aya_ebpf::{
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    programs::SkBuffContext,
};
use tcp_trace_ebpf::{
    DIRECTION_IN, DIRECTION_OUT, KIND_TRANSLATION, RawHeader, RawSegment, RawTranslation,
    decide::{
        forget, opposite, pick, pick_mut,
        translation::{Ports, Selection, differ, select, select_answer},
    },
    tcp::{ACK, CLOSE, SYN},
};

use crate::{emit, filter, maps, packet::TcpHeader, sock};

/// Whether the filter selects a segment, by the ports of its socket or by its own. A socket that only the latter select is counted.
#[inline(always)]
pub(super) fn is_selected(
    sk: *mut bpf_sock,
    own: Ports,
    header: &TcpHeader,
    direction: u8,
    mask: u32,
) -> bool {
    let selection = selection(sk, own, header, direction, mask);
    // The RST of one that was closed leaves behind its last transition.
    // SAFETY: not null.
    let is_closed = unsafe { (*sk).state } as u8 == CLOSE;
    if selection == Selection::Translated && !is_closed {
        filter::select_translated(sk, own.local);
    }
    selection != Selection::Excluded
}

/// What the filter says of a segment.
#[inline(always)]
fn selection(sk: *mut bpf_sock, own: Ports, header: &TcpHeader, direction: u8, mask: u32) -> Selection {
    let packet = header.ports(direction);
    let known = own.or(packet);
    let is_excluded = |ports| forget(filter::are_own_excluded(ports).into(), mask) != 0;
    let mut selection = select(known, packet, is_excluded(known), || is_excluded(packet));
    if selection == Selection::Excluded && filter::is_translated(known.local) {
        // Another socket of this port is translated: its listener, or one that is not known yet.
        selection = Selection::Own;
    }
    if own.peer != 0 {
        let is_known = own.local == 0 && selection == Selection::Excluded && is_known(sk);
        return if is_known { Selection::Own } else { selection };
    }
    let flags = header.flags() & (SYN | ACK);
    if direction == DIRECTION_IN && flags == SYN && selection == Selection::Own {
        expect_answer(sk, header.sequence().wrapping_add(1));
    }
    if direction == DIRECTION_OUT && flags == SYN | ACK {
        return select_answer(selection, is_answer_expected(sk, header.acknowledgment()));
    }
    selection
}

/// Whether a socket was reported to be translated: what is closed has no local port any more.
#[inline(always)]
pub(super) fn is_known<T>(sk: *const T) -> bool {
    let memory = maps::memory(sk, 0);
    // SAFETY: null or valid for this run.
    !memory.is_null() && unsafe { (*memory).translation_known != 0 }
}

/// Remembers at a listener which SYN was selected last: it is answered at once.
#[inline(always)]
fn expect_answer(sk: *mut bpf_sock, number: u32) {
    let memory = maps::memory(sk, BPF_SK_STORAGE_GET_F_CREATE);
    if !memory.is_null() {
        // SAFETY: not null, so valid for this run.
        let answers = pick_mut(unsafe { &mut (*memory).directions }, opposite(DIRECTION_IN));
        answers.acknowledgment_due = number;
        answers.is_due = 1;
    }
}

/// Whether a listener's SYN+ACK answers that SYN.
#[inline(always)]
fn is_answer_expected(sk: *mut bpf_sock, number: u32) -> bool {
    let memory = maps::memory(sk, 0);
    if memory.is_null() {
        return false;
    }
    // SAFETY: not null, so valid for this run.
    let answers = pick(unsafe { &(*memory).directions }, DIRECTION_OUT);
    answers.is_due != 0 && answers.acknowledgment_due == number
}

/// Reports that the addresses of a segment that its socket sends are not the socket's, unless that is known.
#[inline(always)]
pub(super) fn report(ctx: &SkBuffContext, sk: *mut bpf_sock, segment: &RawSegment) {
    let own = sock::endpoints_of_packet(ctx, segment.endpoints.family);
    if !differ(&own, &segment.endpoints) {
        return;
    }
    let memory = maps::memory(sk, BPF_SK_STORAGE_GET_F_CREATE);
    // SAFETY: null or valid for this run.
    if memory.is_null() || unsafe { (*memory).translation_known != 0 } {
        return;
    }
    let Some(mut record) = emit::reserve::<RawTranslation>() else { return };
    record.write(RawTranslation {
        header: RawHeader { kind: KIND_TRANSLATION, ..segment.header },
        endpoints: own,
        translated: segment.endpoints,
        netns: sock::netns_of_packet(ctx).unwrap_or_default(),
        state: segment.state,
        padding: [0; 3],
    });
    emit::submit(record, false);
    // SAFETY: not null, so valid for this run.
    unsafe { (*memory).translation_known = 1 };
}
