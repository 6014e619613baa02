//! The kernel side between what happens and the pipeline: what it reports of each segment, and a ring buffer that may drop.

use std::collections::HashMap;

use tcp_trace_ebpf::{
    ELIDED, NO_VERDICT, RawHeader, RawSegment,
    decide::{
        acceptance::{self, Judgment},
        segment,
        skip::{self, Detail},
    },
    refusal,
};
use tcp_trace_model::{
    event::{Direction, Elided, Elision, Endpoints, Event, EventKind, Segment, State, StateChange},
    record::Record,
    refusal::{Refusal, Verdict},
    time::Time,
};

use super::{
    super::{CLIENT, CLIENT_ISN, LISTENER, NETNS, SERVER, SERVER_ISN, endpoints, owner},
    world::{self, Kind, Observation, Played},
};
use crate::pipeline::{Output, Pipeline, Settings, Skip, TICK_US, testing::take_records};

/// What the kernel side remembers of a socket.
#[derive(Debug, Default)]
struct Memory {
    directions: [segment::DirectionMemory; 2],
    /// Before which sequence number payload of a direction is not needed, as user space said.
    skip: [Option<u32>; 2],
    progress: [skip::SkipProgress; 2],
}

/// Plays what was observed into a pipeline. `drops` says of each event, by its number, whether the ring buffer drops it.
pub(super) fn record(played: &Played, drops: impl Fn(usize) -> bool) -> Vec<Record> {
    let mut pipeline = Pipeline::new(Settings::default());
    let mut out = Vec::new();
    let mut memory: HashMap<u64, Memory> = HashMap::new();
    let mut ticked = played.observations.first().map_or(0, |first| first.time);
    let mut has_lost = false;
    for (number, observation) in played.observations.iter().enumerate() {
        while observation.time >= ticked + TICK_US * 1_000 {
            ticked += TICK_US * 1_000;
            if std::mem::take(&mut has_lost) {
                pipeline.events_lost(Time(ticked));
            }
            pipeline.tick(Time(ticked));
        }
        let Some(kind) = reported(observation, &mut memory) else { continue };
        if drops(number) {
            has_lost = true;
            continue;
        }
        let event = Event { time: Time(observation.time), cookie: cookie(observation.end), kind };
        pipeline.event(&event);
        while let Some(output) = pipeline.poll() {
            match output {
                Output::Record(record) => out.push(record),
                Output::Skip(Skip { cookie, direction, until }) => {
                    memory.entry(cookie).or_default().skip[direction.index()] = until;
                }
                _ => {}
            }
        }
    }
    for tick in 1..=20 {
        pipeline.tick(Time(played.ended + tick * TICK_US * 1_000));
    }
    pipeline.finish(Time(played.ended + 3_000_000_000));
    take_records(&mut pipeline, &mut out);
    out
}

fn cookie(end: Option<usize>) -> u64 {
    match end {
        Some(world::CLIENT) => CLIENT,
        Some(_) => SERVER,
        None => LISTENER,
    }
}

fn ends(end: Option<usize>) -> Endpoints {
    if end == Some(world::CLIENT) { endpoints(41352, 8080) } else { endpoints(8080, 41352) }
}

/// What the kernel side reports of what happened.
fn reported<'a>(observation: &'a Observation, memory: &mut HashMap<u64, Memory>) -> Option<EventKind<'a>> {
    let is_client = observation.end == Some(world::CLIENT);
    let (own_isn, peer_isn) = if is_client { (CLIENT_ISN, SERVER_ISN) } else { (SERVER_ISN, CLIENT_ISN) };
    match &observation.kind {
        Kind::Use => Some(EventKind::Owner(owner(812, "nginx"))),
        Kind::Change { old, new, error, shutdown, passed } => {
            let process = match (old, new) {
                (State::Close, _) | (State::Established, State::FinWait1) if is_client => {
                    Some(owner(13838, "curl"))
                }
                (State::Established, State::FinWait1) | (State::CloseWait, State::LastAck) => {
                    let name = if is_client { owner(13838, "curl") } else { owner(812, "nginx") };
                    Some(name)
                }
                _ => None,
            };
            let all = [own_isn.wrapping_add(passed[0] as u32), peer_isn.wrapping_add(passed[1] as u32)];
            Some(EventKind::StateChange(StateChange {
                endpoints: ends(observation.end),
                netns: NETNS,
                owner: process,
                error: *error,
                shutdown: *shutdown,
                passed: (*new == State::Close).then_some(all),
                sent_to: (*new == State::Close).then_some(own_isn.wrapping_add(passed[2] as u32)),
                ..StateChange::new(*old, *new)
            }))
        }
        Kind::Segment { direction, packet, state, judgment } => {
            let (sender, receiver) = match direction {
                Direction::Out => (own_isn, peer_isn),
                Direction::In => (peer_isn, own_isn),
            };
            let raw = RawSegment {
                header: RawHeader {
                    time_ns: observation.time,
                    cookie: cookie(observation.end),
                    ..RawHeader::default()
                },
                sequence: sender.wrapping_add(packet.position as u32),
                acknowledgment: receiver.wrapping_add(packet.acknowledged as u32),
                length: packet.payload.len() as u32,
                direction: direction.index() as u8,
                flags: packet.flags.0,
                state: state_number(*state),
                attributes: judgment.attributes(),
                ..RawSegment::default()
            };
            let (has_payload, elision) =
                decided(&raw, *direction, memory.entry(raw.header.cookie).or_default())?;
            Some(EventKind::Segment(Segment {
                direction: *direction,
                flags: packet.flags,
                sequence: raw.sequence,
                acknowledgment: raw.acknowledgment,
                length: raw.length,
                payload: if has_payload { &packet.payload } else { &[] },
                endpoints: ends(observation.end),
                netns: Some(NETNS),
                state: Some(*state),
                zero_window: false,
                elision,
                verdict: verdict(*judgment),
            }))
        }
    }
}

/// What user space reads of a judgment. The names do not matter here.
fn verdict(judgment: Judgment) -> Verdict {
    match judgment.reason {
        NO_VERDICT => Verdict::Taken,
        refusal::OLD_DATA => Verdict::Old,
        _ if judgment.is_unsure => Verdict::Unsure(Refusal::AckUnsentData),
        _ => Verdict::Refused(Refusal::AckUnsentData),
    }
}

/// Whether the programs report a segment, whether with its payload, and what they say of those that they left out.
fn decided(raw: &RawSegment, direction: Direction, memory: &mut Memory) -> Option<(bool, Elision)> {
    let own = direction.index();
    let decision = segment::decide(raw, Some(memory.directions[own]));
    if !decision.is_reported {
        decision.changes.apply(&mut memory.directions, raw.direction);
        return None;
    }
    let judgment = acceptance::verdict_of(raw);
    let changes = if judgment.is_taken() {
        decision.changes
    } else {
        let awaited = Some(segment::end(raw)).filter(|end| judgment.is_unsure && *end != raw.sequence);
        segment::Changes { awaited, is_unsure: true, ..segment::Changes::default() }
    };
    changes.apply(&mut memory.directions, raw.direction);
    if !acceptance::is_progress(raw) {
        return Some((acceptance::has_payload(raw), Elision::None));
    }
    let Some(until) = memory.skip[own].filter(|_| skip::concerns(raw)) else {
        return Some((true, Elision::None));
    };
    let elision = skip::decide(raw, until, memory.progress[own]);
    memory.progress[own] = elision.progress.unwrap_or(memory.progress[own]);
    let reported = match elision.attributes {
        ELIDED => Elision::After(Elided { next: elision.elided_to, us: elision.elided_age_us }),
        _ => Elision::Starts,
    };
    (elision.detail != Detail::Nothing).then_some((elision.detail == Detail::Payload, reported))
}

/// The kernel's number of a state (`include/net/tcp_states.h`); a half-open connection has one of its own.
pub(super) fn state_number(state: State) -> u8 {
    if state == State::SynRecv {
        return 12;
    }
    (1..=11).find(|number| State::from_kernel(*number) == Some(state)).unwrap()
}
