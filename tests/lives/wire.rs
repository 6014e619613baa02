//! What the tests at a wire begin with.

use std::net::{TcpListener, TcpStream};

use tcp_trace_model::event::Flags;
use tcp_trace_tests::{FIN_ACK, Peer, SYN_ACK, Scene, TimeWindow, Wire, WireAddresses, accept};

/// Port of scripted clients.
pub(crate) const CLIENT_PORT: u16 = 40_000;

/// The kernel's socket is a client of a scripted server.
pub(crate) fn to_server() -> (Scene, Wire) {
    Scene::wire_to_server(WireAddresses::ipv4())
}

/// The kernel's socket is a server of scripted clients.
pub(crate) fn to_clients() -> (Scene, Wire) {
    Scene::wire_to_clients(WireAddresses::ipv4())
}

/// A client of the kernel's that is connected with the scripted server.
pub(crate) fn connected<'w>(scene: &Scene, wire: &'w Wire) -> (TcpStream, Peer<'w>) {
    let client = scene.begin_to_connect();
    let (mut peer, _) = wire.accept(scene.server);
    peer.send(SYN_ACK);
    peer.expect(Flags::ACK);
    scene.wait_for_states(&["ESTABLISHED"]);
    (client, peer)
}

/// A server of the kernel's that is connected with the scripted client, and when the SYN came.
pub(crate) fn accepted<'w>(
    scene: &Scene,
    wire: &'w Wire,
    listener: &TcpListener,
) -> (TcpStream, Peer<'w>, TimeWindow) {
    let mut peer = wire.peer(scene.server, CLIENT_PORT);
    let syn = handshake(&mut peer);
    (accept(listener), peer, syn)
}

/// The three-way handshake of a scripted client. Gives when the SYN came.
pub(crate) fn handshake(peer: &mut Peer<'_>) -> TimeWindow {
    let syn = peer.send(Flags::SYN);
    peer.expect(SYN_ACK);
    peer.send(Flags::ACK);
    syn
}

/// After the kernel's end was shut down: takes its FIN, and acknowledges it with the peer's own.
pub(crate) fn answer_fin_with_fin(peer: &mut Peer<'_>) -> TimeWindow {
    peer.expect(FIN_ACK);
    let fin = peer.send(FIN_ACK);
    peer.expect(Flags::ACK);
    fin
}
