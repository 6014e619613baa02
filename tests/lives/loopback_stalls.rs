//! A client that does not read: the time that its full window costs, at both ends.

use std::{
    io::{Read as _, Write as _},
    thread,
    time::{Duration, Instant},
};

use rustix::net::{SocketFlags, connect, sockopt::set_socket_recv_buffer_size};
use tcp_trace_model::{event::Role, record::Stalls};
use tcp_trace_tests::{Scene, accept, wait_for};

const REQUEST: &[u8] = b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n";
const BODY: usize = 1 << 20;
/// For how long the client does not read.
const PAUSE: Duration = Duration::from_secs(1);

/// Waits until the server has probed the window and got an answer: a receiver says that it is full at the latest then.
fn wait_for_answered_probe(scene: &Scene) {
    let port = scene.server.port();
    wait_for("an answered probe", || {
        let is_probed = scene.namespace.counter("TCPWinProbe") > 0;
        let sockets = scene.namespace.proc_net_tcp(port);
        let mut timers = sockets.iter().filter_map(|socket| socket.timer.as_ref());
        let is_answered = timers.any(|timer| timer.kind == "persist" && timer.unanswered == 0);
        (is_probed && is_answered).then_some(())
    });
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).expect("it is short")
}

#[test]
fn loopback_slow_reader_has_a_full_window() {
    let scene = Scene::loopback();
    let listener = scene.listen();
    let socket = scene.socket(SocketFlags::CLOEXEC);
    set_socket_recv_buffer_size(&socket, 8192).expect("a socket has this option");
    connect(&socket, &scene.server).expect("a listener is there");
    let mut client = std::net::TcpStream::from(socket);
    let mut server = accept(&listener);
    client.write_all(REQUEST).expect("it is connected");
    let sending = thread::spawn(move || {
        server.read_exact(&mut [0; REQUEST.len()]).expect("the request comes");
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n");
        server
            .write_all(&[head.as_bytes(), &vec![b'x'; BODY]].concat())
            .expect("the client reads in the end");
        server.shutdown(std::net::Shutdown::Write).expect("it is connected");
        // Until the client has closed too.
        server.read_to_end(&mut Vec::new()).expect("the client closes");
    });
    let began = Instant::now();
    client.peek(&mut [0]).expect("the response begins");
    wait_for_answered_probe(&scene);
    // The measured time is how long nothing is read from then on.
    let full = Instant::now();
    thread::sleep(PAUSE);
    let pause = micros(full.elapsed());
    let mut received = Vec::new();
    client.read_to_end(&mut received).expect("the rest comes");
    let took = micros(began.elapsed());
    drop(client);
    sending.join().expect("it does not fail");
    scene.wait_for_record("FIN_WAIT2>TIME_WAIT");
    let recording = scene.stop();
    assert_eq!(recording.end.lost, 0);
    for role in [Role::Client, Role::Server] {
        let exchanges = recording.http_of(role);
        assert_eq!(exchanges.len(), 1);
        let timing = &exchanges[0].exchange.timing;
        assert_eq!(
            exchanges[0].exchange.response.as_ref().map(|response| response.body.size),
            Some(BODY as u64)
        );
        let Some(Stalls { send: None, wait: None, receive: Some(receive) }) = timing.stalls.clone() else {
            panic!("{role:?}: {timing:?}")
        };
        assert!((pause..=took).contains(&receive.zero_window_us), "{pause} {took} {timing:?}");
        assert!(Some(receive.zero_window_us) <= timing.receive_us, "{timing:?}");
    }
}
