//! Copies of a connection in programs that do not use it.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
};

use tcp_trace_tests::{Diagnosing, Diagnosis, Script};

const MIN_AGE: [&str; 2] = ["--min-age", "1s"];

/// A client that has its answer, and reads on.
fn answered(server: &Script) -> TcpStream {
    let mut client = TcpStream::connect(("127.0.0.1", server.port())).expect("it listens");
    client.write_all(b"hello").expect("it is connected");
    client.read_exact(&mut [0]).expect("it answers");
    client
}

#[test]
fn a_copy_that_keeps_the_fin_from_being_sent_is_reported() {
    let server = Script::start_with("python3", "stuck.py", &["copy"]);
    let traced = Diagnosing::start(server.port(), &MIN_AGE);
    let mut client = answered(&server);
    let now = Diagnosis::wait_until(server.port(), &MIN_AGE, |finding| finding.code == "descriptor_kept");
    for diagnosis in [now, traced.end()] {
        let finding = diagnosis.only();
        assert_eq!(
            (finding.code.as_str(), finding.cause.as_deref()),
            ("descriptor_kept", Some("other_program"))
        );
        let process = finding.process.as_ref().expect("root sees it");
        assert_eq!(&*process.name.0, b"sleep");
        let fd = finding.connections[0].fd.expect("root sees it");
        let link = std::fs::read_link(format!("/proc/{}/fd/{fd}", process.pid)).expect("it is open");
        assert!(link.to_string_lossy().starts_with("socket:["));
    }
    client.set_nonblocking(true).expect("it is a socket");
    assert_eq!(client.read(&mut [0]).expect_err("no FIN came").kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_program_that_does_not_inherit_the_connection_keeps_nothing() {
    let server = Script::start_with("python3", "stuck.py", &["spawn"]);
    let mut client = answered(&server);
    assert_eq!(client.read(&mut [0]).expect("the FIN came"), 0);
    drop(client);
    Diagnosis::of_port(server.port(), &MIN_AGE).expect_none();
}
