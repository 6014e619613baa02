//! What of an exchange's time is lost to segments that are lost or late and to full windows, with a remote host that the
//! test plays, and on a link that drops what it has no room for.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    thread,
    time::Duration,
};

use tcp_trace_model::{
    event::{Flags, Role},
    record::{Http, Stalls},
};
use tcp_trace_tests::{
    FIN_ACK, Namespace, Peer, Scene, Segment, TimeWindow, accept, output, stay_on_one_cpu, wait_for,
    while_doing,
};

use crate::wire::{accepted, connected, to_clients, to_server};

const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
/// How far a time may be off from that at the wire: the test reads what is there when it runs.
const TOLERANCE_US: u64 = 60_000;
/// The kernel waits as long at least before it sends a segment again (`TCP_RTO_MIN`).
const RETRANSMIT_MIN_US: u64 = 200_000;
/// Longer than the tolerance, so that what is measured shows.
const PAUSE: Duration = Duration::from_millis(400);
/// Payload of a segment that the test sends.
const SEGMENT: usize = 1000;

fn response(body: usize) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: {body}\r\n\r\n").into_bytes();
    bytes.resize(bytes.len() + body, b'x');
    bytes
}

/// Ends a connection of the kernel's client and gives the exchange that it carried.
fn exchange_of_client(scene: Scene, client: TcpStream, mut peer: Peer<'_>) -> Http {
    peer.send(FIN_ACK);
    scene.wait_for_states(&["CLOSE_WAIT"]);
    drop(client);
    peer.expect(FIN_ACK);
    peer.send(Flags::ACK);
    scene.wait_for_record("LAST_ACK>CLOSE");
    only_exchange(scene, Role::Client)
}

fn only_exchange(scene: Scene, role: Role) -> Http {
    let recording = scene.stop();
    assert_eq!(recording.end.lost, 0);
    let exchanges = recording.http_of(role);
    assert_eq!(exchanges.len(), 1, "{exchanges:#?}");
    exchanges[0].clone()
}

/// Fails unless this time is that from one moment to another.
#[track_caller]
fn assert_between(us: u64, (start, end): (TimeWindow, TimeWindow), http: &Http) {
    let (least, most) = start.micros_until(end);
    let expected = least.saturating_sub(TOLERANCE_US)..=most + TOLERANCE_US;
    assert!(expected.contains(&us), "{us} is not in {expected:?}: {:#?}", http.exchange.timing);
}

#[test]
fn wire_request_that_is_lost_costs_the_client_its_wait() {
    let (scene, wire) = to_server();
    let (mut client, mut peer) = connected(&scene, &wire);
    let written = while_doing(|| client.write_all(REQUEST).expect("it is connected"));
    let first = peer.expect(Flags::ACK);
    let second = peer.expect(Flags::ACK);
    assert_eq!((first.seq, &first.payload), (second.seq, &second.payload), "it comes again");
    // The kernel has sent it until now.
    let response = response(2);
    peer.send_data(Flags::ACK, &response);
    client.read_exact(&mut vec![0; response.len()]).expect("the response comes");
    let retransmits = peer.retransmits();
    let requests: Vec<_> = peer.received.iter().filter(|segment| segment.payload == REQUEST).collect();
    // The test may read it long after it was sent.
    let last = TimeWindow {
        from: written.from.after_micros(RETRANSMIT_MIN_US),
        to: requests.last().expect("it came").time,
    };
    let http = exchange_of_client(scene, client, peer);
    let Some(Stalls { send: None, wait: Some(wait), receive: None }) = &http.exchange.timing.stalls else {
        panic!("{:#?}", http.exchange.timing)
    };
    assert_eq!((wait.retransmits, wait.out_of_order, wait.zero_window_us), (retransmits, 0, 0));
    assert_between(wait.retransmit_us, (written, last), &http);
    assert!(Some(wait.retransmit_us) <= http.exchange.timing.wait_us);
}

/// Sends a response in segments, the one at `hole` only after the others and a pause. Gives when the first one behind the
/// hole came, and when what filled it.
fn respond_with_hole(
    peer: &mut Peer<'_>,
    client: &mut TcpStream,
    response: &[u8],
    hole: usize,
) -> (TimeWindow, TimeWindow) {
    let mut segments: Vec<Segment> = Vec::new();
    for bytes in response.chunks(SEGMENT) {
        segments.push(peer.segment(Flags::ACK, bytes));
        peer.next_seq = peer.next_seq.wrapping_add(u32::try_from(bytes.len()).expect("it is short"));
    }
    let last = segments.len() - 1;
    let missing = segments.remove(hole);
    let mut after_hole = None;
    for (index, segment) in segments.iter().enumerate() {
        let sent = peer.wire().send(segment);
        if index == hole || (hole == last && index + 1 == hole) {
            after_hole = Some(sent);
        }
        if index + 1 == hole {
            // What is in order is read, so that there is room for the rest.
            client.read_exact(&mut vec![0; hole * SEGMENT]).expect("it is there");
        }
    }
    thread::sleep(PAUSE);
    let filled = peer.wire().send(&missing);
    client.read_exact(&mut vec![0; response.len() - hole * SEGMENT]).expect("all is there");
    (after_hole.expect("a segment follows"), filled)
}

#[test]
fn wire_segment_that_comes_late_costs_the_client_its_receiving() {
    // The second is so long that its body is left out in the kernel.
    for (body, hole) in [(2_500, 1), (100_000, 60)] {
        let (scene, wire) = to_server();
        let (mut client, mut peer) = connected(&scene, &wire);
        client.write_all(REQUEST).expect("it is connected");
        peer.expect(Flags::ACK);
        let late = respond_with_hole(&mut peer, &mut client, &response(body), hole);
        let http = exchange_of_client(scene, client, peer);
        let Some(Stalls { send: None, wait: None, receive: Some(receive) }) = &http.exchange.timing.stalls
        else {
            panic!("{body}: {:#?}", http.exchange.timing)
        };
        assert_eq!((receive.retransmits, receive.out_of_order, receive.zero_window_us), (0, 1, 0), "{body}");
        assert_between(receive.retransmit_us, late, &http);
        assert!(Some(receive.retransmit_us) <= http.exchange.timing.receive_us, "{body}");
        let size = http.exchange.response.as_ref().map(|response| response.body.size);
        assert_eq!(size, u64::try_from(body).ok());
    }
}

/// Takes what comes, acknowledging it, up to a sequence number.
fn take_until(peer: &mut Peer<'_>, end: u32) {
    wait_for("the rest of the response", || {
        peer.receive_for(Duration::from_millis(5));
        peer.send(Flags::ACK);
        (peer.next_ack.wrapping_sub(end).cast_signed() >= 0).then_some(())
    });
}

#[test]
fn wire_server_sends_again_what_is_lost_of_a_long_response_and_waits_for_a_window() {
    const BODY: usize = 600_000;
    let (scene, wire) = to_clients();
    let listener = scene.listen();
    let (mut server, mut peer, _) = accepted(&scene, &wire, &listener);
    peer.send_data(Flags::ACK, REQUEST);
    let sending = thread::spawn(move || {
        server.read_exact(&mut [0; REQUEST.len()]).expect("the request comes");
        server.write_all(&response(BODY)).expect("the client reads in the end");
        server.shutdown(Shutdown::Write).expect("it is connected");
        server.read_to_end(&mut Vec::new()).expect("the client closes");
    });
    let start = peer.next_ack;
    take_until(&mut peer, start.wrapping_add(120_000));
    // From now on nothing is acknowledged: what was sent comes again.
    let before = peer.retransmits();
    let mut retransmits = before;
    while retransmits < before + 2 {
        peer.receive_for(Duration::from_millis(20));
        retransmits = peer.retransmits();
    }
    peer.window = 0;
    let shut = peer.send(Flags::ACK);
    thread::sleep(PAUSE);
    peer.window = u16::MAX;
    let open = peer.send(Flags::ACK);
    // All of it, and a FIN.
    let length = response(BODY).len() + 1;
    take_until(&mut peer, start.wrapping_add(u32::try_from(length).expect("it is short")));
    peer.send(FIN_ACK);
    sending.join().expect("it does not fail");
    scene.wait_for_record("FIN_WAIT2>TIME_WAIT");
    let retransmits = peer.retransmits();
    let http = only_exchange(scene, Role::Server);
    let Some(Stalls { send: None, wait: None, receive: Some(receive) }) = &http.exchange.timing.stalls else {
        panic!("{:#?}", http.exchange.timing)
    };
    // At the wire a segment is cut into several, which count there.
    assert!((2..=retransmits).contains(&receive.retransmits), "{retransmits} at the wire: {receive:?}");
    assert!(receive.retransmit_us > 150_000, "the first time the kernel waits for 200 ms: {receive:?}");
    assert_between(receive.zero_window_us, (shut, open), &http);
    assert!(Some(receive.retransmit_us.max(receive.zero_window_us)) <= http.exchange.timing.receive_us);
}

#[test]
fn wire_link_that_drops_is_seen_by_both_ends_and_nothing_else_is() {
    const BODY: usize = 1 << 20;
    stay_on_one_cpu();
    for is_lossy in [false, true] {
        let namespace = Namespace::new();
        output(namespace.command("ip").args(["link", "set", "lo", "mtu", "1500"]));
        if is_lossy {
            let limits = ["rate", "20mbit", "burst", "8kb", "limit", "12kb"];
            let add = ["qdisc", "add", "dev", "lo", "root", "tbf"];
            output(namespace.command("tc").args(add).args(limits));
        }
        let scene = Scene::loopback_in(namespace);
        let listener = scene.listen();
        let mut client = scene.connect();
        let mut server = accept(&listener);
        client.write_all(REQUEST).expect("it is connected");
        let sending = thread::spawn(move || {
            server.read_exact(&mut [0; REQUEST.len()]).expect("the request comes");
            server.write_all(&response(BODY)).expect("the client reads");
            server.shutdown(Shutdown::Write).expect("it is connected");
            server.read_to_end(&mut Vec::new()).expect("the client closes");
        });
        client.read_to_end(&mut Vec::new()).expect("all comes in the end");
        drop(client);
        sending.join().expect("it does not fail");
        scene.wait_for_record("FIN_WAIT2>TIME_WAIT");
        let [late, resent] = ["TCPOFOQueue", "RetransSegs"].map(|name| scene.namespace.counter(name));
        let recording = scene.stop();
        assert_eq!(recording.end.lost, 0);
        let receive = |role| {
            let exchanges = recording.http_of(role);
            assert_eq!(exchanges.len(), 1);
            let timing = &exchanges[0].exchange.timing;
            let stall = timing.stalls.clone().unwrap_or_default().receive.unwrap_or_default();
            assert!(stall.retransmit_us <= timing.receive_us.expect("it is over"), "{timing:?}");
            stall
        };
        let (client, server) = (receive(Role::Client), receive(Role::Server));
        if is_lossy {
            assert!(
                server.retransmits > 0 && server.out_of_order == 0 && server.retransmit_us > 0,
                "{server:?}"
            );
            assert!(
                client.out_of_order > 0 && client.retransmits == 0 && client.retransmit_us > 0,
                "{client:?}"
            );
            // The link cuts what leaves the server in one piece, so that several may arrive for one that was sent again.
            // The kernel counts what those pieces hold.
            assert!(resent >= client.out_of_order, "sent {resent} again: {server:?} {client:?}");
            assert!(late > 0, "the kernel has seen none late");
        } else {
            // Without loss too a kernel that had to wait for long sends again. A window may be full for a moment.
            let kernel = format!("{late} late, {resent} sent again: {client:?} {server:?}");
            assert!(late > 0 || client.out_of_order == 0 && client.retransmit_us == 0, "{kernel}");
            assert!(resent > 0 || server.retransmits == 0 && server.retransmit_us == 0, "{kernel}");
            assert_eq!((client.retransmits, server.out_of_order), (0, 0), "{kernel}");
        }
    }
}
