//! What goes on when the application's socket is gone: orphaned FIN_WAIT2 and TIME_WAIT, between two sockets on
//! this host.

use std::{io::Read as _, thread, time::Duration};

use tcp_trace_model::{
    event::Role,
    record::{By, How},
};
use tcp_trace_tests::{Life, PATIENCE, Scene, TimeWindow, hold, now, wait_until, while_doing};

/// How long the peer of an orphan keeps its end open.
const KEPT_OPEN: Duration = Duration::from_millis(250);

#[test]
fn loopback_orphan_waits_for_the_peers_fin() {
    let scene = Scene::loopback();
    let listener = scene.listen();
    let (client, mut server) = scene.pair(&listener);
    hold();
    drop(client);
    assert_eq!(server.read(&mut [0]).expect("the FIN comes"), 0);
    // The mini-socket of the orphan, which the tracepoint calls closed.
    scene.wait_for_states(&["CLOSE_WAIT", "FIN_WAIT2"]);
    thread::sleep(KEPT_OPEN);
    scene.wait_for_states(&["CLOSE_WAIT", "FIN_WAIT2"]);
    let fin = while_doing(|| drop(server));
    scene.wait_for_states(&["TIME_WAIT"]);
    let lives = [
        Life::client("CLOSE SYN_SENT ESTABLISHED FIN_WAIT1 FIN_WAIT2 TIME_WAIT")
            .in_kernel("CLOSE SYN_SENT ESTABLISHED FIN_WAIT1 FIN_WAIT2 CLOSE")
            .at("FIN_WAIT2>TIME_WAIT", fin)
            .closed(By::Local, How::Fin),
        Life::server("LISTEN SYN_RECV ESTABLISHED CLOSE_WAIT LAST_ACK CLOSE").closed(By::Peer, How::Fin),
    ];
    scene.check(Some(listener), &lives);
}

#[test]
fn loopback_orphan_whose_peer_never_closes_ends_by_itself() {
    let scene = Scene::loopback();
    // Long enough that it is seen before it ends.
    scene.namespace.set("ipv4/tcp_fin_timeout", "3");
    let listener = scene.listen();
    let (client, mut server) = scene.pair(&listener);
    drop(client);
    assert_eq!(server.read(&mut [0]).expect("the FIN comes"), 0);
    scene.wait_for_states(&["CLOSE_WAIT", "FIN_WAIT2"]);
    let end = end_of(&scene, "FIN_WAIT2");
    scene.wait_for_record("FIN_WAIT2>CLOSE");
    // Nobody is there any more to take the second FIN: the answer is an RST.
    drop(server);
    scene.wait_for_states(&[]);
    let lives = [
        Life::client("CLOSE SYN_SENT ESTABLISHED FIN_WAIT1 FIN_WAIT2 CLOSE")
            .at("FIN_WAIT2>CLOSE", end)
            .closed(By::Local, How::Fin)
            .because("no FIN from the peer"),
        Life::server("LISTEN SYN_RECV ESTABLISHED CLOSE_WAIT LAST_ACK CLOSE")
            .closed(By::Peer, How::Rst)
            .because("ECONNRESET"),
    ];
    scene.check(Some(listener), &lives);
}

#[test]
fn loopback_time_wait_ends_after_a_minute() {
    let scene = Scene::loopback();
    let listener = scene.listen();
    let (client, mut server) = scene.pair(&listener);
    drop(client);
    assert_eq!(server.read(&mut [0]).expect("the FIN comes"), 0);
    let fin = while_doing(|| drop(server));
    scene.wait_for_states(&["TIME_WAIT"]);
    let end = end_of(&scene, "TIME_WAIT");
    let lives = [
        Life::client("CLOSE SYN_SENT ESTABLISHED FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE")
            .in_kernel("CLOSE SYN_SENT ESTABLISHED FIN_WAIT1 FIN_WAIT2 CLOSE")
            .at("FIN_WAIT2>TIME_WAIT", fin)
            .at("TIME_WAIT>CLOSE", end)
            .closed(By::Local, How::Fin),
        Life::server("LISTEN SYN_RECV ESTABLISHED CLOSE_WAIT LAST_ACK CLOSE").closed(By::Peer, How::Fin),
    ];
    let recording = scene.check(Some(listener), &lives);
    let client = recording.connections_of(Role::Client)[0];
    let time_wait = client.states.last().expect("it had states");
    // TCP_TIMEWAIT_LEN is 60 s. What ends sooner was reset; the end itself was compared with the kernel's.
    assert!(time_wait.duration_us.expect("it ended") >= 59_000_000, "{time_wait:?}");
}

/// Waits until no socket is in a state any more, and gives when the last one left it.
fn end_of(scene: &Scene, state: &str) -> TimeWindow {
    let port = scene.server.port();
    let mut last_seen = now();
    let is_over = || {
        let before = now();
        let is_there = scene.namespace.states(port).iter().any(|other| other == state);
        if is_there {
            last_seen = before;
        }
        !is_there
    };
    assert!(wait_until(2 * PATIENCE, is_over), "{state} does not end");
    TimeWindow { from: last_seen, to: now() }
}
