//! Ring-buffer bytes to events. Total: whatever the bytes are, the answer is an event or a counted error.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use tcp_trace_ebpf::{
    AF_INET, AF_INET6, Bytes16, COMM_LEN, DIRECTION_IN, DIRECTION_OUT, ELIDED, ELISION_STARTS, KIND_DATAGRAM,
    KIND_PROCESS, KIND_RESET, KIND_SEGMENT, KIND_STACK, KIND_TRANSITION, RawDatagram, RawEndpoints,
    RawHeader, RawProcess, RawProcessUse, RawReset, RawSegment, RawStack, RawTransition, TRIGGER_CONNECT,
    TRIGGER_END_OF_STREAM, TRIGGER_FIRST_USE, ZERO_WINDOW,
};
use tcp_trace_model::{
    event::{
        Datagram, Direction, Endpoints, Event, EventKind, Figures, Flags, Identity, LeftOff, Moment, Owner,
        Place, Registers, Segment, Skipping, Stack, State, StateChange,
    },
    record::SharedStack,
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
    let mut reader = Reader { bytes, at: 0 };
    let header = RawHeader {
        time_ns: reader.u64()?,
        cookie: reader.u64()?,
        kind: reader.u32()?,
        padding: reader.u32()?,
    };
    let kind = match header.kind {
        KIND_TRANSITION => EventKind::StateChange(state_change(&mut reader)?),
        KIND_SEGMENT => EventKind::Segment(segment(&mut reader)?),
        KIND_PROCESS => {
            let owner = owner(&mut reader)?;
            EventKind::Owner(owner.ok_or(DecodeError::Value { field: "known", value: 0 })?)
        }
        KIND_RESET => EventKind::Reset(reader.u32()?),
        KIND_DATAGRAM => EventKind::Datagram(datagram(&mut reader)?),
        KIND_STACK => EventKind::Stack(stack(&mut reader)?),
        kind => return Err(DecodeError::Kind(kind)),
    };
    Ok(Event { time: Time(header.time_ns.wrapping_add(clock_offset)), cookie: header.cookie, kind })
}

fn state_change(reader: &mut Reader<'_>) -> Result<StateChange, DecodeError> {
    let endpoints = endpoints(reader)?;
    let owner = owner(reader)?;
    let netns = reader.u32()?;
    let error = reader.u32()?.cast_signed();
    let (old, new) = (state(reader, "old")?, state(reader, "new")?);
    let shutdown = reader.u8()?;
    reader.u8()?;
    let life = reader.u32()?;
    let [receive_queue, srtt_us, cwnd, retransmits] = numbers(reader)?;
    let [received_to, acknowledged_to, accept_queue, accept_queue_limit] = numbers(reader)?;
    let is_end = new == State::Close && old != State::Listen;
    Ok(StateChange {
        old,
        new,
        endpoints,
        netns,
        owner,
        shutdown,
        error,
        life,
        figures: Figures { receive_queue, srtt_us, cwnd, retransmits, accept_queue, accept_queue_limit },
        // By `Direction::index`.
        passed: is_end.then_some([acknowledged_to, received_to]),
    })
}

fn numbers(reader: &mut Reader<'_>) -> Result<[u32; 4], DecodeError> {
    Ok([reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?])
}

fn segment<'a>(reader: &mut Reader<'a>) -> Result<Segment<'a>, DecodeError> {
    let endpoints = endpoints(reader)?;
    let sequence = reader.u32()?;
    let acknowledgment = reader.u32()?;
    let length = reader.u32()?;
    let captured = reader.u32()?;
    let netns = reader.u32()?;
    let direction = direction(reader)?;
    let flags = Flags(reader.u8()?);
    let state = State::from_kernel(reader.u8()?);
    let marks = reader.u8()?;
    let left_off = LeftOff { next: reader.u32()?, us: reader.u32()? };
    if captured > length {
        return Err(DecodeError::Value { field: "captured", value: captured.into() });
    }
    let payload = reader.slice(captured as usize)?;
    Ok(Segment {
        direction,
        flags,
        sequence,
        acknowledgment,
        length,
        payload,
        endpoints,
        netns: (netns != 0).then_some(netns),
        state,
        zero_window: marks & ZERO_WINDOW != 0,
        skipping: match marks & (ELIDED | ELISION_STARTS) {
            0 => Skipping::No,
            ELISION_STARTS => Skipping::Begins,
            _ => Skipping::Since(left_off),
        },
    })
}

fn datagram<'a>(reader: &mut Reader<'a>) -> Result<Datagram<'a>, DecodeError> {
    let endpoints = endpoints(reader)?;
    let length = reader.u32()?;
    let captured = reader.u32()?;
    let netns = reader.u32()?;
    let direction = direction(reader)?;
    reader.array::<3>()?;
    if captured > length {
        return Err(DecodeError::Value { field: "captured", value: captured.into() });
    }
    let payload = reader.slice(captured as usize)?;
    Ok(Datagram { direction, endpoints, netns, length, payload })
}

fn direction(reader: &mut Reader<'_>) -> Result<Direction, DecodeError> {
    match reader.u8()? {
        DIRECTION_OUT => Ok(Direction::Out),
        DIRECTION_IN => Ok(Direction::In),
        other => Err(DecodeError::Value { field: "direction", value: other.into() }),
    }
}

fn state(reader: &mut Reader<'_>, field: &'static str) -> Result<State, DecodeError> {
    let number = reader.u8()?;
    State::from_kernel(number).ok_or(DecodeError::Value { field, value: number.into() })
}

fn endpoints(reader: &mut Reader<'_>) -> Result<Endpoints, DecodeError> {
    let raw = RawEndpoints {
        local_address: reader.array()?.into(),
        peer_address: reader.array()?.into(),
        local_port: reader.u16()?,
        peer_port: reader.u16()?,
        family: reader.u16()?,
        padding: reader.u16()?,
    };
    let address = |words: Bytes16| match (raw.family, words.bytes()) {
        (AF_INET, [a, b, c, d, ..]) => Ok(IpAddr::V4(Ipv4Addr::new(a, b, c, d))),
        // An IPv6 socket that talks IPv4 has IPv4-mapped addresses; its packets are IPv4.
        (AF_INET6, bytes) => Ok(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()),
        (family, _) => Err(DecodeError::Value { field: "family", value: family.into() }),
    };
    Ok(Endpoints {
        local: SocketAddr::new(address(raw.local_address)?, raw.local_port),
        peer: SocketAddr::new(address(raw.peer_address)?, raw.peer_port),
    })
}

fn stack<'a>(reader: &mut Reader<'a>) -> Result<Stack<'a>, DecodeError> {
    let owner = owner(reader)?.ok_or(DecodeError::Value { field: "known", value: 0 })?;
    let tid = reader.u32()?;
    let moment = match reader.u32()? {
        TRIGGER_CONNECT => Moment::Connect,
        TRIGGER_FIRST_USE => Moment::FirstUse,
        TRIGGER_END_OF_STREAM => Moment::EndOfStream,
        value => return Err(DecodeError::Value { field: "moment", value: value.into() }),
    };
    let thread = comm(&reader.array()?).to_vec();
    let registers = Registers { ip: reader.u64()?, sp: reader.u64()?, fp: reader.u64()?, lr: reader.u64()? };
    let length = reader.u32()?;
    let ring_full = reader.u32()? == 1;
    let bytes = reader.slice(length as usize)?;
    Ok(Stack { moment, owner, tid, thread, registers, ring_full, bytes, resolved: SharedStack::default() })
}

/// A `comm` without what follows its end.
fn comm(bytes: &[u8; COMM_LEN]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn owner(reader: &mut Reader<'_>) -> Result<Option<Owner>, DecodeError> {
    let raw = RawProcess {
        pid: reader.u32()?,
        uid: reader.u32()?,
        followed: reader.u32()?,
        known: reader.u32()?,
        start_boottime_ns: reader.u64()?,
        exec_id: reader.u64()?,
        cgroup_id: reader.u64()?,
        comm: reader.array()?.into(),
    };
    Ok((raw.known == 1).then(|| Owner {
        pid: raw.pid,
        uid: raw.uid,
        followed: raw.followed == 1,
        name: Bytes::copy_from_slice(comm(&raw.comm.bytes())),
        identity: Identity { started: raw.start_boottime_ns, executions: raw.exec_id, cgroup: raw.cgroup_id },
        place: Place::default(),
    }))
}

/// Reads numbers in host byte order.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn slice(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(length);
        let slice = end
            .and_then(|end| self.bytes.get(self.at..end))
            .ok_or(DecodeError::Short { length: self.bytes.len() })?;
        self.at += length;
        Ok(slice)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.slice(N)?);
        Ok(array)
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_ne_bytes)
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_ne_bytes)
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_ne_bytes)
    }
}

// The fields are read in the order and with the sizes of the ABI; these break when the ABI moves.
const _: () = {
    assert!(size_of::<RawTransition>() == 168);
    assert!(size_of::<RawSegment>() == 96);
    assert!(size_of::<RawDatagram>() == 80);
    assert!(size_of::<RawProcessUse>() == 80);
    assert!(size_of::<RawReset>() == 32);
    assert!(size_of::<RawStack>() == 144);
};

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
