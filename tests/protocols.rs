//! What a connection carries that is no HTTP is named, and answers in another protocol are reported.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Command,
    thread,
};

use tcp_trace_model::{
    event::Role,
    record::{Connection, FirstBytes, Text, TlsOutcome},
};
use tcp_trace_tests::{
    Diagnosing, Diagnosis, Folder, Nginx, Recording, Tracer, free_port, tcp_trace, with_patience,
};

/// Ends the tracer when both ends of a connection are over; one of them may be in TIME_WAIT.
fn recorded(tracer: Tracer) -> (Recording, String) {
    tracer.wait_for_lines("connection", 1);
    tracer.wait_for_closed();
    let (recording, text) = tracer.stop_with_text();
    assert_eq!(recording.end.lost, 0);
    (recording, text)
}

/// The only connection of an end.
fn only(recording: &Recording, role: Role) -> &Connection {
    let connections = recording.connections_of(role);
    let [connection] = connections.as_slice() else { panic!("{role:?}: {connections:#?}") };
    connection
}

/// Says `lines` in turn, the first of the server or of the client, and waits for each at the other end.
fn talk(server_first: bool, lines: &[&[u8]]) -> (Tracer, u16) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    let tracer = Tracer::start(&["--port", &port.to_string()]);
    let client = with_patience(TcpStream::connect(("127.0.0.1", port)).expect("it listens"));
    let (server, _) = listener.accept().expect("a client came");
    let mut ends = [client, with_patience(server)];
    for (turn, line) in lines.iter().enumerate() {
        let from = (turn + usize::from(server_first)) % 2;
        ends[from].write_all(line).expect("the other end reads");
        ends[1 - from].read_exact(&mut vec![0; line.len()]).expect("the other end wrote");
    }
    // The client closes first.
    let [client, server] = ends;
    drop(client);
    drop(server);
    (tracer, port)
}

#[test]
fn protocols_are_named_at_both_ends_by_their_first_bytes() {
    for (name, server_first, lines) in [
        ("ssh", true, &[&b"SSH-2.0-OpenSSH_9.2\r\n"[..], b"SSH-2.0-OpenSSH_9.6\r\n"][..]),
        ("smtp", true, &[b"220 mail.example ready\r\n", b"EHLO c.example\r\n", b"250 mail.example\r\n"]),
        ("redis", false, &[b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"]),
        ("postgresql", false, &[b"\0\0\0\x08\x04\xd2\x16\x2f", b"N"]),
        (
            "http/2",
            false,
            &[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", b"\0\0\0\x04\0\0\0\0\0"],
        ),
    ] {
        let (tracer, _) = talk(server_first, lines);
        let (recording, _) = recorded(tracer);
        for role in [Role::Client, Role::Server] {
            let connection = only(&recording, role);
            assert_eq!(connection.protocol.as_deref(), Some(name), "{role:?}");
            assert_eq!(
                (&connection.first_bytes, &connection.answer_protocol),
                (&None, &None),
                "{name} {role:?}"
            );
        }
        // HTTP/2 is read: its exchanges are counted, not its connections.
        let is_only_named = name != "http/2";
        let named = is_only_named.then(|| (name.to_owned(), 2)).into_iter().collect();
        assert_eq!(recording.end.protocols, named);
        assert_eq!(recording.http().count(), 0);
    }
}

#[test]
fn first_bytes_of_an_unknown_protocol_are_recorded_and_shown() {
    let question = b"how are you today, and how is everybody else?\n";
    let (tracer, _) = talk(false, &[question, b"fine \x01\xff\n"]);
    let (recording, text) = recorded(tracer);
    let (asked, answered) = (Text::from(&question[..32]), Text::from(&b"fine \x01\xff\n"[..]));
    let first = |sent: &Text, received: &Text| {
        Some(FirstBytes { sent: Some(sent.clone()), received: Some(received.clone()) })
    };
    assert_eq!(only(&recording, Role::Client).first_bytes, first(&asked, &answered));
    assert_eq!(only(&recording, Role::Server).first_bytes, first(&answered, &asked));
    let folder = Folder::new();
    fs::write(folder.file("recording.jsonl"), text).expect("the folder is ours");
    let show = |format: &str| {
        let arguments = ["show", "--format", format, "--color", "never"];
        let output =
            tcp_trace().args(arguments).arg(folder.file("recording.jsonl")).output().expect("it runs");
        String::from_utf8(output.stdout).expect("it is text")
    };
    let (table, ladder) = (show("table"), show("ladder"));
    let words = r#"unknown protocol: sent "how are you today, and how is ev", received "fine \u{1}\xff\u{a}"; 46 B sent, 8 B received"#;
    assert!(table.contains(words), "{table}");
    assert!(table.contains("(2 of an unknown protocol), 0 HTTP exchanges"), "{table}");
    assert!(ladder.contains(r#"unknown protocol: the client sent "how are you today, and"#), "{ladder}");
}

#[test]
fn tls_to_a_server_that_speaks_http_is_reported() {
    let nginx = Nginx::start(free_port());
    let tracer = Tracer::start(&["--port", &nginx.port().to_string()]);
    let url = format!("https://127.0.0.1:{}/", nginx.port());
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--insecure", &url])
        .output()
        .expect("curl runs");
    // CURLE_SSL_CONNECT_ERROR.
    assert_eq!(output.status.code(), Some(35), "{output:?}");
    let (recording, text) = recorded(tracer);
    for role in [Role::Client, Role::Server] {
        let connection = only(&recording, role);
        let protocols = (connection.protocol.as_deref(), connection.answer_protocol.as_deref());
        assert_eq!(protocols, (Some("tls"), Some("http")), "{role:?}");
        let tls = connection.tls.as_deref().expect("the ClientHello was read");
        assert_eq!(tls.outcome, TlsOutcome::NotTls, "{role:?}");
    }
    let logged = nginx.access_log(1);
    assert_eq!(logged[0].status, 400, "{logged:?}");
    let folder = Folder::new();
    let file = folder.file("recording.jsonl");
    fs::write(&file, text).expect("the folder is ours");
    let diagnosis = Diagnosis::with(tcp_trace(), &["--from", file.to_str().expect("the path is text")]);
    let finding = diagnosis.only();
    assert_eq!(
        (finding.code.as_str(), finding.cause.as_deref()),
        ("wrong_protocol", Some("tls_answered_in_http"))
    );
    assert!(finding.summary.starts_with("1 connection from curl (pid "), "{}", finding.summary);
    assert!(finding.summary.ends_with("spoke TLS, and the server answered in HTTP."), "{}", finding.summary);
}

#[test]
fn http_to_a_server_that_speaks_tls_is_reported() {
    // A handshake_failure alert, as OpenSSL and Go's crypto/tls answer what is no TLS.
    let alert = b"\x15\x03\x03\0\x02\x02\x28";
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    let diagnosing = Diagnosing::start(port, &[]);
    let server = thread::spawn(move || {
        let mut stream = with_patience(listener.accept().expect("curl comes").0);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("curl sends its request");
            head.push(byte[0]);
        }
        stream.write_all(alert).expect("curl reads");
    });
    let url = format!("http://127.0.0.1:{port}/");
    let output = Command::new("curl").args(["--silent", "--show-error", &url]).output().expect("curl runs");
    // CURLE_UNSUPPORTED_PROTOCOL: HTTP/0.9 is not allowed.
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    server.join().expect("it does not panic");
    let diagnosis = diagnosing.end();
    let finding = diagnosis.findings.iter().find(|finding| finding.code == "wrong_protocol");
    let finding = finding.unwrap_or_else(|| panic!("{diagnosis:#?}"));
    assert_eq!(finding.cause.as_deref(), Some("http_answered_in_tls"));
    assert!(finding.summary.ends_with("spoke HTTP, and the server answered in TLS."), "{}", finding.summary);
}
