//! The transitions of a client's connection, from its SYN to its end.

use std::net::SocketAddr;

use tcp_trace_model::{
    event::{Cookie, Endpoints, Event, EventKind, Owner, State, StateChange},
    time::Time,
};

const LIFE: [(State, State); 5] = [
    (State::Close, State::SynSent),
    (State::SynSent, State::Established),
    (State::Established, State::CloseWait),
    (State::CloseWait, State::LastAck),
    (State::LastAck, State::Close),
];

/// How many there are.
pub(crate) const LENGTH: u64 = LIFE.len() as u64;

/// Each of them, a microsecond apart.
pub(crate) fn transitions(cookie: Cookie, begin: u64) -> impl Iterator<Item = Event<'static>> {
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    (0..).zip(LIFE).map(move |(step, (old, new))| {
        let local = if old == State::Close { 0 } else { 41352 };
        let change = StateChange {
            endpoints: Endpoints { local: address(local), peer: address(8080) },
            netns: 4_026_531_840,
            owner: (old == State::Close).then(|| Owner::new(812, "api")),
            ..StateChange::new(old, new)
        };
        Event { time: Time(begin + step * 1_000), cookie, kind: EventKind::StateChange(change) }
    })
}
