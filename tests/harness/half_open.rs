//! The expected record of a half-open connection: a SYN that was answered, and never became a socket.

use std::net::TcpListener;

use tcp_trace_model::{
    event::{Role, State},
    record::{By, How, Record},
};

use crate::{
    Recording, Scene, TimeWindow,
    check::{ESTIMATED_TOLERANCE_US, SCENE_PATIENCE, TOLERANCE_US},
    wait_until,
};

/// What is expected of it. The kernel's tracepoint says nothing: the wire and `ss` give the times.
#[derive(Clone, Copy, Debug)]
pub struct HalfOpen {
    /// The client's port.
    pub peer_port: u16,
    /// When the SYN came.
    pub syn: TimeWindow,
    /// When the kernel gave it up.
    pub end: TimeWindow,
    /// Who ended it.
    pub by: By,
    /// By what.
    pub how: How,
}

impl Scene {
    /// Checks that the recording has the listener and one half-open connection, which is over.
    pub fn check_half_open(self, listener: TcpListener, expected: &HalfOpen) -> Recording {
        let of_server = |record: &Record| matches!(record, Record::Connection(c) if c.connection.role == Some(Role::Server));
        wait_until(SCENE_PATIENCE, || self.tracer.records().iter().any(of_server));
        drop(listener);
        let recording = self.tracer.stop();
        assert_eq!(recording.end.lost, 0);
        let servers = recording.connections_of(Role::Server);
        let [connection] = servers.as_slice() else {
            panic!("one half-open connection is expected: {servers:#?}");
        };
        let network = connection.connection.network.expect("addresses are known");
        assert_eq!(network.local, self.server.into());
        assert_eq!((network.peer.port, network.netns), (expected.peer_port, Some(self.namespace.inode())));
        let process = connection.connection.process.as_ref().map(|process| process.pid);
        assert_eq!(process, Some(std::process::id()), "the listener's, because it was not accepted");
        assert!(!connection.open, "{connection:?}");
        let close = &connection.close;
        assert_eq!(
            (close.by, close.how, &close.reason),
            (expected.by, expected.how, &None),
            "{connection:?}"
        );
        let [half_open] = connection.states.as_slice() else { panic!("one state: {connection:?}") };
        assert_eq!(half_open.state, State::SynRecv);
        let late = expected.syn.micros_from(half_open.entered);
        assert!(late <= TOLERANCE_US, "{late} us off the SYN: {connection:?}");
        let closed = connection.closed.expect("it is over");
        let tolerance = if half_open.estimated { ESTIMATED_TOLERANCE_US } else { TOLERANCE_US };
        let late = expected.end.micros_from(closed);
        assert!(late <= tolerance, "{late} us off {:?}: {connection:?}", expected.end);
        assert_eq!(half_open.duration_us, Some(closed.micros_since(half_open.entered)));
        recording
    }
}
