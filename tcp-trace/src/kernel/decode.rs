//! Ring-buffer bytes to events. Total: whatever the bytes are, the answer is an event or a counted error.

mod plaintext;

use std::{
    mem::offset_of,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4},
};

use bytes::Bytes;
use tcp_trace_ebpf::{
    AF_INET, AF_INET6, COMM_LEN, CONNECTED, DIRECTION_IN, DIRECTION_OUT, ELIDED, ELISION_STARTS, EXITING,
    KIND_CIPHERTEXT, KIND_DATAGRAM, KIND_PLAINTEXT, KIND_PROCESS, KIND_RESET, KIND_SEGMENT, KIND_STACK,
    KIND_SUBFLOW, KIND_TLS_OBJECT_GONE, KIND_TRANSITION, KIND_TRANSLATION, NO_VERDICT, RawDatagram,
    RawEndpoints, RawHeader, RawProcess, RawProcessUse, RawReset, RawSegment, RawStack, RawSubflow,
    RawTransition, RawTranslation, SUBFLOW, TRIGGER_CONNECT, TRIGGER_END_OF_STREAM, TRIGGER_FIRST_USE,
    VERDICT_MASK, VERDICT_SHIFT, VERDICT_UNSURE, ZERO_WINDOW, refusal,
};
use tcp_trace_model::{
    event::{
        Cookie, Datagram, Direction, Elided, Elision, Endpoints, Event, EventKind, Flags, Owner, ProcessInfo,
        ProcessKey, Registers, Segment, Stack, StackTrigger, State, StateChange, TcpStats, Translation,
    },
    refusal::{Refusal, Verdict},
    time::Time,
};
use thiserror::Error;

/// Why a record could not be understood.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// It ends before its fixed part or its payload does.
    #[error("record of {length} bytes is too short")]
    Short {
        /// Length of the record.
        length: usize,
    },
    /// Its kind is not one of this version's.
    #[error("unknown record kind {0}")]
    Kind(u32),
    /// A field has a value that it cannot have.
    #[error("field {field} has the impossible value {value}")]
    Value {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
}

/// Decodes one record. `clock_offset` is added to the kernel's monotonic nanoseconds to give wall time.
pub fn decode(bytes: &[u8], clock_offset: u64) -> Result<Event<'_>, DecodeError> {
    let (header, _) = fixed::<{ size_of::<RawHeader>() }>(bytes)?;
    let time = Time(u64_at(header, offset_of!(RawHeader, time_ns)).wrapping_add(clock_offset));
    let cookie = u64_at(header, offset_of!(RawHeader, cookie));
    let kind = u32_at(header, offset_of!(RawHeader, kind));
    // Most are segments. Each is made in its place: to move one takes as long as to decode it.
    if kind == KIND_SEGMENT {
        return segment(time, cookie, bytes);
    }
    Ok(Event { time, cookie, kind: other(kind, bytes)? })
}

/// Decodes what is not a segment.
#[inline(never)]
fn other(kind: u32, bytes: &[u8]) -> Result<EventKind<'_>, DecodeError> {
    Ok(match kind {
        KIND_TRANSITION => EventKind::StateChange(state_change(bytes)?),
        KIND_PROCESS => {
            let (raw, _) = fixed::<{ size_of::<RawProcessUse>() }>(bytes)?;
            EventKind::Owner(known_owner(raw, offset_of!(RawProcessUse, process))?)
        }
        KIND_RESET => {
            let (raw, _) = fixed::<{ size_of::<RawReset>() }>(bytes)?;
            EventKind::Reset(u32_at(raw, offset_of!(RawReset, reason)))
        }
        KIND_SUBFLOW => {
            let (raw, _) = fixed::<{ size_of::<RawSubflow>() }>(bytes)?;
            EventKind::Subflow(u64_at(raw, offset_of!(RawSubflow, first)))
        }
        KIND_DATAGRAM => EventKind::Datagram(datagram(bytes)?),
        KIND_STACK => EventKind::Stack(stack(bytes)?),
        KIND_TRANSLATION => EventKind::Translation(translation(bytes)?),
        KIND_PLAINTEXT => EventKind::Plaintext(plaintext::plaintext(bytes)?),
        KIND_CIPHERTEXT => EventKind::Ciphertext(plaintext::ciphertext(bytes)?),
        KIND_TLS_OBJECT_GONE => EventKind::TlsObjectGone(plaintext::object_gone(bytes)?),
        kind => return Err(DecodeError::Kind(kind)),
    })
}

fn state_change(bytes: &[u8]) -> Result<StateChange, DecodeError> {
    let (raw, _) = fixed::<{ size_of::<RawTransition>() }>(bytes)?;
    let old = state("old", u8_at(raw, offset_of!(RawTransition, old)))?;
    let new = state("new", u8_at(raw, offset_of!(RawTransition, new)))?;
    let is_end = new == State::Close && old != State::Listen;
    let sent_to_or_accept_queue = u32_at(raw, offset_of!(RawTransition, stats.sent_to_or_accept_queue));
    let acknowledged_to = u32_at(raw, offset_of!(RawTransition, stats.acknowledged_to));
    let received_to = u32_at(raw, offset_of!(RawTransition, stats.received_to));
    Ok(StateChange {
        old,
        new,
        endpoints: endpoints(raw, offset_of!(RawTransition, endpoints))?,
        netns: u32_at(raw, offset_of!(RawTransition, netns)),
        owner: owner(raw, offset_of!(RawTransition, process)),
        shutdown: u8_at(raw, offset_of!(RawTransition, shutdown)),
        error: u32_at(raw, offset_of!(RawTransition, error)).cast_signed(),
        incarnation: u32_at(raw, offset_of!(RawTransition, incarnation)),
        is_client: u8_at(raw, offset_of!(RawTransition, attributes)) & CONNECTED != 0,
        is_exit: u8_at(raw, offset_of!(RawTransition, attributes)) & EXITING != 0,
        is_inferred: false,
        is_subflow: u8_at(raw, offset_of!(RawTransition, attributes)) & SUBFLOW != 0,
        stats: TcpStats {
            receive_queue: u32_at(raw, offset_of!(RawTransition, stats.receive_queue)),
            srtt_us: u32_at(raw, offset_of!(RawTransition, stats.srtt_us)),
            cwnd: u32_at(raw, offset_of!(RawTransition, stats.cwnd)),
            retransmits: u32_at(raw, offset_of!(RawTransition, stats.retransmits)),
            accept_queue: if is_end { 0 } else { sent_to_or_accept_queue },
            accept_queue_limit: u32_at(raw, offset_of!(RawTransition, stats.accept_queue_limit)),
        },
        // By `Direction::index`.
        passed: is_end.then_some([acknowledged_to, received_to]),
        // 0 in captures from before it was reported; else one number of 2^32.
        sent_to: Some(sent_to_or_accept_queue).filter(|number| is_end && *number != 0),
    })
}

#[inline(always)]
fn segment(time: Time, cookie: Cookie, bytes: &[u8]) -> Result<Event<'_>, DecodeError> {
    let (raw, payload) = fixed::<{ size_of::<RawSegment>() }>(bytes)?;
    let length = u32_at(raw, offset_of!(RawSegment, length));
    let captured = u32_at(raw, offset_of!(RawSegment, captured));
    let netns = u32_at(raw, offset_of!(RawSegment, netns));
    let attributes = u8_at(raw, offset_of!(RawSegment, attributes));
    // What can fail comes first.
    let direction = direction(u8_at(raw, offset_of!(RawSegment, direction)))?;
    let payload = captured_of(bytes, payload, captured, length)?;
    let endpoints = endpoints(raw, offset_of!(RawSegment, endpoints))?;
    let verdict = verdict(raw, payload, attributes)?;
    let segment = Segment {
        direction,
        flags: Flags(u8_at(raw, offset_of!(RawSegment, flags))),
        sequence: u32_at(raw, offset_of!(RawSegment, sequence)),
        acknowledgment: u32_at(raw, offset_of!(RawSegment, acknowledgment)),
        length,
        payload,
        endpoints,
        netns: (netns != 0).then_some(netns),
        state: State::from_kernel(u8_at(raw, offset_of!(RawSegment, state))),
        zero_window: attributes & ZERO_WINDOW != 0,
        verdict,
        elision: match attributes & (ELIDED | ELISION_STARTS) {
            0 => Elision::None,
            ELISION_STARTS => Elision::Starts,
            _ => Elision::After(Elided {
                next: u32_at(raw, offset_of!(RawSegment, elided_to)),
                us: u32_at(raw, offset_of!(RawSegment, elided_age_us)),
            }),
        },
    };
    Ok(Event { time, cookie, kind: EventKind::Segment(segment) })
}

/// What the kernel makes of a segment. Where nobody has verified its checksum, that is done here, if all of it is there.
#[inline(always)]
fn verdict(raw: &[u8; size_of::<RawSegment>()], payload: &[u8], marks: u8) -> Result<Verdict, DecodeError> {
    let number = marks >> VERDICT_SHIFT & VERDICT_MASK;
    if number != NO_VERDICT {
        let why = match number {
            refusal::OLD_DATA => return Ok(Verdict::Old),
            number => why(number)?,
        };
        return Ok(if marks & VERDICT_UNSURE != 0 { Verdict::Unsure(why) } else { Verdict::Refused(why) });
    }
    let unverified = u16_at(raw, offset_of!(RawSegment, endpoints.unverified_sum));
    if unverified != 0 && !is_checksum_right(raw, payload, unverified) {
        return Ok(Verdict::Refused(Refusal::Checksum));
    }
    Ok(Verdict::Taken)
}

fn why(number: u8) -> Result<Refusal, DecodeError> {
    Ok(match number {
        refusal::TCP_FLAGS => Refusal::Flags,
        refusal::PAWS => Refusal::Paws,
        refusal::INVALID_SEQUENCE => Refusal::InvalidSequence,
        refusal::OLD_SEQUENCE => Refusal::OldSequence,
        refusal::RESET => Refusal::Reset,
        refusal::INVALID_SYN => Refusal::InvalidSyn,
        refusal::TOO_OLD_ACK => Refusal::TooOldAck,
        refusal::ACK_UNSENT_DATA => Refusal::AckUnsentData,
        refusal::ZEROWINDOW => Refusal::ZeroWindow,
        refusal::OVERWINDOW => Refusal::OverWindow,
        refusal::ABORT_ON_DATA => Refusal::AbortOnData,
        refusal::INVALID_ACK_SEQUENCE => Refusal::InvalidAckSequence,
        refusal::AFTER_FIN => Refusal::AfterFin,
        refusal::INVALID_END_SEQUENCE => Refusal::InvalidEndSequence,
        value => return Err(DecodeError::Value { field: "verdict", value: value.into() }),
    })
}

/// Whether the checksum of a segment is right (RFC 9293, section 3.1); `header` is the sum of its header. True where some of the
/// payload is missing: then it is not known.
#[cold]
fn is_checksum_right(raw: &[u8; size_of::<RawSegment>()], payload: &[u8], header: u16) -> bool {
    let length = u32_at(raw, offset_of!(RawSegment, length));
    if payload.len() != length as usize {
        return true;
    }
    let endpoints = offset_of!(RawSegment, endpoints);
    let addresses = [offset_of!(RawEndpoints, local_address), offset_of!(RawEndpoints, peer_address)];
    let mut sum = u64::from(header);
    for address in addresses {
        // Of an IPv4 address the rest is zeros.
        let bytes: [u8; 16] = array(raw, endpoints + address);
        sum += sum_of(&bytes);
    }
    sum += sum_of(&length.to_be_bytes()) + sum_of(payload);
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum == 0xffff
}

/// The sum of 16-bit words (RFC 1071), in the order of bytes that they have.
fn sum_of(bytes: &[u8]) -> u64 {
    let (words, last) = bytes.as_chunks::<2>();
    let last: u64 = last.iter().map(|byte| u64::from(u16::from_ne_bytes([*byte, 0]))).sum();
    words.iter().map(|word| u64::from(u16::from_ne_bytes(*word))).sum::<u64>() + last
}

fn translation(bytes: &[u8]) -> Result<Translation, DecodeError> {
    let (raw, _) = fixed::<{ size_of::<RawTranslation>() }>(bytes)?;
    let netns = u32_at(raw, offset_of!(RawTranslation, netns));
    Ok(Translation {
        endpoints: endpoints(raw, offset_of!(RawTranslation, endpoints))?,
        translated: endpoints(raw, offset_of!(RawTranslation, translated))?,
        netns: (netns != 0).then_some(netns),
        state: State::from_kernel(u8_at(raw, offset_of!(RawTranslation, state))),
    })
}

fn datagram(bytes: &[u8]) -> Result<Datagram<'_>, DecodeError> {
    let (raw, payload) = fixed::<{ size_of::<RawDatagram>() }>(bytes)?;
    let length = u32_at(raw, offset_of!(RawDatagram, length));
    let captured = u32_at(raw, offset_of!(RawDatagram, captured));
    Ok(Datagram {
        direction: direction(u8_at(raw, offset_of!(RawDatagram, direction)))?,
        endpoints: endpoints(raw, offset_of!(RawDatagram, endpoints))?,
        netns: u32_at(raw, offset_of!(RawDatagram, netns)),
        length,
        payload: captured_of(bytes, payload, captured, length)?,
    })
}

/// The captured payload of a packet with a payload of `length` bytes, from what follows the fixed part of `record`.
fn captured_of<'a>(
    record: &[u8],
    rest: &'a [u8],
    captured: u32,
    length: u32,
) -> Result<&'a [u8], DecodeError> {
    if captured > length {
        return Err(DecodeError::Value { field: "captured", value: captured.into() });
    }
    rest.get(..captured as usize).ok_or(DecodeError::Short { length: record.len() })
}

fn direction(number: u8) -> Result<Direction, DecodeError> {
    match number {
        DIRECTION_OUT => Ok(Direction::Out),
        DIRECTION_IN => Ok(Direction::In),
        other => Err(DecodeError::Value { field: "direction", value: other.into() }),
    }
}

fn state(field: &'static str, number: u8) -> Result<State, DecodeError> {
    State::from_kernel(number).ok_or(DecodeError::Value { field, value: number.into() })
}

/// The [`RawEndpoints`] at `at`.
#[inline(always)]
fn endpoints(raw: &[u8], at: usize) -> Result<Endpoints, DecodeError> {
    let local = (at + offset_of!(RawEndpoints, local_address), at + offset_of!(RawEndpoints, local_port));
    let peer = (at + offset_of!(RawEndpoints, peer_address), at + offset_of!(RawEndpoints, peer_port));
    match u16_at(raw, at + offset_of!(RawEndpoints, family)) {
        AF_INET => Ok(Endpoints { local: ipv4(raw, local), peer: ipv4(raw, peer) }),
        AF_INET6 => Ok(Endpoints { local: ipv6(raw, local), peer: ipv6(raw, peer) }),
        family => Err(DecodeError::Value { field: "family", value: family.into() }),
    }
}

#[inline(always)]
fn ipv4(raw: &[u8], (address, port): (usize, usize)) -> SocketAddr {
    let octets: [u8; 4] = array(raw, address);
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from(octets), u16_at(raw, port)))
}

/// An IPv6 socket that talks IPv4 has IPv4-mapped addresses; its packets are IPv4.
#[inline(always)]
fn ipv6(raw: &[u8], (address, port): (usize, usize)) -> SocketAddr {
    let octets: [u8; 16] = array(raw, address);
    SocketAddr::new(Ipv6Addr::from(octets).to_canonical(), u16_at(raw, port))
}

fn stack(bytes: &[u8]) -> Result<Stack<'_>, DecodeError> {
    let (raw, rest) = fixed::<{ size_of::<RawStack>() }>(bytes)?;
    let trigger = match u32_at(raw, offset_of!(RawStack, trigger)) {
        TRIGGER_CONNECT => StackTrigger::Connect,
        TRIGGER_FIRST_USE => StackTrigger::FirstUse,
        TRIGGER_END_OF_STREAM => StackTrigger::EndOfStream,
        value => return Err(DecodeError::Value { field: "trigger", value: value.into() }),
    };
    let length = u32_at(raw, offset_of!(RawStack, stack_bytes)) as usize;
    Ok(Stack {
        trigger,
        owner: known_owner(raw, offset_of!(RawStack, process))?,
        tid: u32_at(raw, offset_of!(RawStack, tid)),
        thread: comm(&array(raw, offset_of!(RawStack, comm))).to_vec(),
        registers: Registers {
            ip: u64_at(raw, offset_of!(RawStack, ip)),
            sp: u64_at(raw, offset_of!(RawStack, sp)),
            fp: u64_at(raw, offset_of!(RawStack, fp)),
            lr: u64_at(raw, offset_of!(RawStack, lr)),
        },
        ring_full: u32_at(raw, offset_of!(RawStack, ring_full)) == 1,
        bytes: rest.get(..length).ok_or(DecodeError::Short { length: bytes.len() })?,
    })
}

/// A `comm` without what follows its end.
fn comm(bytes: &[u8; COMM_LEN]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The [`RawProcess`] at `at`, which has to be known.
fn known_owner(raw: &[u8], at: usize) -> Result<Owner, DecodeError> {
    owner(raw, at).ok_or(DecodeError::Value { field: "known", value: 0 })
}

/// The [`RawProcess`] at `at`, when it is known.
fn owner(raw: &[u8], at: usize) -> Option<Owner> {
    (u32_at(raw, at + offset_of!(RawProcess, known)) == 1).then(|| Owner {
        pid: u32_at(raw, at + offset_of!(RawProcess, pid)),
        uid: u32_at(raw, at + offset_of!(RawProcess, uid)),
        followed: u32_at(raw, at + offset_of!(RawProcess, followed)) == 1,
        name: Bytes::copy_from_slice(comm(&array(raw, at + offset_of!(RawProcess, comm)))),
        key: ProcessKey {
            started: u64_at(raw, at + offset_of!(RawProcess, start_boottime_ns)),
            executions: u64_at(raw, at + offset_of!(RawProcess, exec_id)),
            cgroup: u64_at(raw, at + offset_of!(RawProcess, cgroup_id)),
        },
        info: ProcessInfo::default(),
    })
}

/// The fixed part of a record, and what follows it: the one check of its length.
#[inline(always)]
fn fixed<const SIZE: usize>(bytes: &[u8]) -> Result<(&[u8; SIZE], &[u8]), DecodeError> {
    bytes.split_first_chunk().ok_or(DecodeError::Short { length: bytes.len() })
}

/// The bytes at a place of a record's fixed part. Inlined, so that the place is known to be inside, and this is a load.
#[inline(always)]
fn array<const N: usize>(fixed: &[u8], at: usize) -> [u8; N] {
    fixed.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}

#[inline(always)]
fn u8_at(fixed: &[u8], at: usize) -> u8 {
    let [byte] = array(fixed, at);
    byte
}

#[inline(always)]
fn u16_at(fixed: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes(array(fixed, at))
}

#[inline(always)]
fn u32_at(fixed: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(array(fixed, at))
}

#[inline(always)]
fn u64_at(fixed: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(array(fixed, at))
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
