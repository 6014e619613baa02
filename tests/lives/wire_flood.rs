//! More half-open connections than are remembered.

use tcp_trace_core::conn::HALF_OPEN_MAX;
use tcp_trace_model::event::{Flags, Role, State};

use crate::wire::to_clients;

/// SYNs of the flood; a port each.
const SYNS: usize = 20_000;

#[test]
fn wire_flood_of_syns_is_bounded_and_counted_with_its_listener() {
    let (scene, wire) = to_clients();
    let listener = scene.listen();
    for port in 0..SYNS {
        let port = u16::try_from(20_000 + port).expect("it is a port");
        wire.peer(scene.server, port).send(Flags::SYN);
    }
    let recording = scene.stop();
    let of_listener = recording.connections_of(Role::Listener)[0];
    assert_eq!(of_listener.half_open_unrecorded as usize, SYNS - HALF_OPEN_MAX);
    assert_eq!(recording.end.lost as usize, SYNS - HALF_OPEN_MAX, "what is not recorded is lost");
    let half_open = recording.connections_of(Role::Server);
    assert_eq!(half_open.len() + of_listener.syns_unanswered as usize, HALF_OPEN_MAX);
    for connection in half_open {
        assert!(connection.open, "{connection:?}");
        assert_eq!(connection.states.iter().map(|span| span.state).collect::<Vec<_>>(), [State::SynRecv]);
    }
    drop(listener);
}
