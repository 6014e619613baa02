//! Lookups of names, against the server's queries, tshark, and the connections that follow.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, UdpSocket},
    process::{Command, Stdio},
};

use tcp_trace_model::{
    event::Role,
    record::{Dns, DnsOutcome, Record, ServerSource, Transport},
};
use tcp_trace_tests::{
    Asked, DnsCapture, DnsServer, Folder, Namespace, Nginx, OUTPUT, Recording, Running, TOLERANCE_US, Tracer,
    free_port, joined_namespaces, output, tcp_trace, translate, wait_for, while_doing,
};

/// A port of servers: each test has a namespace of its own.
const PORT: u16 = 8080;

/// The lookups of a namespace: other tests may make some at the same time.
fn lookups<'a>(recording: &'a Recording, namespace: &Namespace) -> Vec<&'a Dns> {
    let netns = namespace.inode();
    recording.lookups().filter(|dns| dns.network.netns == Some(netns)).collect()
}

fn name(dns: &Dns) -> &str {
    &dns.question.as_ref().expect("it was understood").name
}

fn kind(dns: &Dns) -> &str {
    &dns.question.as_ref().expect("it was understood").kind
}

/// Asks for a name as programs do, with getaddrinfo(), and gives the process's id. It may fail.
fn getent(server: &DnsServer, namespace: &Namespace, name: &str) -> u32 {
    let mut command = server.client(namespace, "getent");
    // The last dot keeps the resolver from trying the name in the host's domain.
    command.args(["ahosts", &format!("{name}.")]).stdout(Stdio::null());
    let mut process = Running::start(&mut command);
    process.0.wait().expect("it can be waited for");
    process.pid()
}

#[test]
fn lookups_are_the_queries_to_the_server() {
    let namespace = Namespace::new();
    let server = DnsServer::start(&namespace);
    let tracer = Tracer::start(&["--comm", "getent"]);
    let names = ["web", "alias", "missing", "broken", "refused", "silent", "long"];
    let pids: Vec<_> =
        names.iter().map(|name| getent(&server, &namespace, &format!("{name}.test"))).collect();
    let recording = tracer.stop();
    let lookups = lookups(&recording, &namespace);
    let mut asked: Vec<Asked> = server.asked();
    let mut recorded: Vec<(Transport, String, String)> = lookups
        .iter()
        .flat_map(|dns| {
            let one = (dns.transport, name(dns).to_owned(), kind(dns).to_owned());
            vec![one; dns.retransmits as usize + 1]
        })
        .collect();
    let order = |(transport, name, kind): &(Transport, String, String)| {
        (*transport == Transport::Tcp, name.clone(), kind.clone())
    };
    recorded.sort_by_key(order);
    asked.sort_by_key(|(transport, name, kind)| order(&(*transport, name.clone(), (*kind).to_owned())));
    let asked: Vec<_> =
        asked.into_iter().map(|(transport, name, kind)| (transport, name, kind.to_owned())).collect();
    assert_eq!(recorded, asked);
    for (number, name_of) in names.iter().enumerate() {
        let of: Vec<_> =
            lookups.iter().filter(|dns| name(dns).strip_suffix(".test") == Some(*name_of)).collect();
        assert!(of.iter().any(|dns| kind(dns) == "A"), "{name_of}");
        for dns in of {
            let process = dns.process.as_ref().expect("its process is known");
            assert_eq!(
                (process.pid, process.name.printable().to_string()),
                (pids[number], "getent".to_owned())
            );
            // Told that one answer is truncated, getent turns to TCP and may close before the other answer comes.
            let is_given_up = (*name_of, kind(dns), dns.transport) == ("long", "AAAA", Transport::Udp)
                && dns.rcode.is_none();
            let expected = if is_given_up { DnsOutcome::NoAnswer } else { expected(name_of, dns) };
            assert_eq!(dns.outcome, expected, "{dns:?}");
            assert_eq!(dns.duration_us.is_some(), dns.outcome != DnsOutcome::NoAnswer);
            assert_eq!((dns.server.address.is_loopback(), dns.server.port), (true, 53));
            let data: Vec<_> = dns.answers.iter().map(|answer| answer.data.as_str()).collect();
            let (web, localhost) = ("web.test", "127.0.0.1");
            match (*name_of, kind(dns), dns.transport) {
                ("web", "A", _) => assert_eq!(data, [localhost]),
                ("alias", "A", _) => assert_eq!(data, [web, localhost]),
                ("alias", "AAAA", _) => assert_eq!(data, [web]),
                ("long", "A", Transport::Tcp) => assert_eq!(data, vec![localhost; 40]),
                _ => assert_eq!(data, [""; 0]),
            }
            let is_carried =
                recording.connections().any(|summary| Some(summary.connection.id) == dns.connection);
            assert_eq!(is_carried, dns.transport == Transport::Tcp);
        }
    }
    assert_eq!(recording.end.lost, 0);
}

fn expected(name: &str, dns: &Dns) -> DnsOutcome {
    match (name, kind(dns), dns.transport) {
        ("missing", ..) => DnsOutcome::Nxdomain,
        ("broken", ..) => DnsOutcome::Servfail,
        ("refused", ..) => DnsOutcome::Refused,
        ("silent", ..) => DnsOutcome::NoAnswer,
        ("long", "A", Transport::Udp) => DnsOutcome::Truncated,
        (_, "A", _) => DnsOutcome::Ok,
        _ => DnsOutcome::NoData,
    }
}

#[test]
fn lookups_are_what_tshark_captured() {
    let namespace = Namespace::new();
    let server = DnsServer::start(&namespace);
    let mut capture = DnsCapture::start(&namespace);
    let tracer = Tracer::start(&["--comm", "getent"]);
    let names = ["web.test", "alias.test", "missing.test"];
    let moments = names.map(|name| while_doing(|| _ = getent(&server, &namespace, name)));
    let recording = tracer.stop();
    let lookups = lookups(&recording, &namespace);
    assert!(lookups.len() >= 6, "A and AAAA of each: {lookups:?}");
    let mut longer: Vec<f64> = Vec::new();
    for _ in &lookups {
        let captured = capture.next_answer();
        let same = lookups.iter().find(|dns| {
            let number = if kind(dns) == "A" { 1 } else { 28 };
            (name(dns), number) == (captured.name.as_str(), captured.kind)
        });
        let same = same.unwrap_or_else(|| panic!("not recorded: {captured:?}"));
        assert_eq!(same.rcode.as_deref(), Some(if captured.rcode == 3 { "NXDOMAIN" } else { "NOERROR" }));
        let addresses: Vec<_> = same.answers.iter().filter(|answer| answer.kind == "A").collect();
        assert_eq!(addresses.first().map_or("", |answer| answer.data.as_str()), captured.addresses);
        let duration = same.duration_us.expect("it was answered") as f64;
        // The question is recorded before tshark sees it, and the answer after: to a rounding and a clock that is set.
        assert!(duration > captured.duration_us - 100.0, "{captured:?} {same:?}");
        let (_, moment) =
            names.iter().zip(moments).find(|(of, _)| **of == name(same)).expect("it is one of them");
        let ended = same.started.after_micros(same.duration_us.expect("it was answered"));
        let is_within = |time| moment.micros_from(time) < TOLERANCE_US;
        assert!(is_within(same.started) && is_within(ended), "{moment:?} {same:?}");
        longer.push(duration - captured.duration_us);
    }
    // A pause of the machine may come between the two, to some of them.
    longer.sort_by(f64::total_cmp);
    assert!(longer[longer.len() / 2] < 1_000.0, "{longer:?}");
}

/// curl by name to an nginx in the namespace, recorded with a filter that only the connection passes.
fn curl_by_name(namespace: &Namespace, server: &DnsServer, name: &str) -> (Tracer, u32) {
    let tracer = Tracer::start(&["--port", &PORT.to_string()]);
    let mut command = server.client(namespace, "curl");
    command.args(["--silent", "--output", "/dev/null", &format!("http://{name}:{PORT}/echo/x")]);
    let mut curl = Running::start(&mut command);
    assert!(curl.0.wait().expect("it can be waited for").success());
    wait_for("both ends", || {
        let is_it = |record: &&Record| match record {
            Record::Http(http) => http.exchange.url.as_ref().is_some_and(|url| *url.path.0 == *b"/echo/x"),
            _ => false,
        };
        (tracer.records().iter().filter(is_it).count() >= 2).then_some(())
    });
    (tracer, curl.pid())
}

#[test]
fn a_connection_has_the_name_that_its_process_looked_up() {
    connection_by_name("alias.test", Transport::Udp);
}

#[test]
fn a_name_that_was_looked_up_by_tcp_is_reported_too() {
    connection_by_name("long.test", Transport::Tcp);
}

fn connection_by_name(asked_for: &str, transport: Transport) {
    let namespace = Namespace::new();
    let server = DnsServer::start(&namespace);
    let _nginx = Nginx::start_in(&namespace, PORT);
    let (tracer, pid) = curl_by_name(&namespace, &server, asked_for);
    let recording = tracer.stop();
    let netns = Some(namespace.inode());
    let of = |role| {
        let all = recording.connections_of(role).into_iter();
        let mut ours = all.filter(|end| end.connection.network.is_some_and(|network| network.netns == netns));
        ours.next().expect("it is recorded")
    };
    let (client, server_end) = (of(Role::Client), of(Role::Server));
    let called = client.server.as_ref().expect("it is called something");
    assert_eq!((called.address.as_str(), called.source), (asked_for, ServerSource::Dns));
    let called = server_end.server.as_ref().expect("curl says Host");
    assert_eq!((called.address.as_str(), called.source), (asked_for, ServerSource::Host));
    assert!(server_end.dns.is_none());
    let resolved = client.dns.as_ref().expect("it follows a lookup");
    let lookups = lookups(&recording, &namespace);
    let [dns] = lookups[..] else { panic!("one lookup is linked to what was chosen: {lookups:?}") };
    assert_eq!((dns.lookup, name(dns), kind(dns)), (resolved.lookup, asked_for, "A"));
    assert_eq!(dns.duration_us, Some(resolved.duration_us));
    assert_eq!(client.opened.micros_since(dns.time), resolved.age_us);
    assert_eq!(dns.process.as_ref().map(|process| process.pid), Some(pid));
    assert_eq!(dns.transport, transport);
    assert!(server.asked().contains(&(transport, asked_for.to_owned(), "A")));
    let position = |is: &dyn Fn(&Record) -> bool| recording.records.iter().position(is);
    let line = position(&|record| matches!(record, Record::Dns(of) if of.lookup == dns.lookup));
    let first = position(
        &|record| matches!(record, Record::Transition(of) if of.connection.id == client.connection.id),
    );
    assert!(line < first, "the lookup comes before what follows it");
}

#[test]
fn show_prints_the_lookup_of_a_chosen_connection() {
    let namespace = Namespace::new();
    let server = DnsServer::start(&namespace);
    let _nginx = Nginx::start_in(&namespace, PORT);
    let tracer = Tracer::start(&["--addr", "127.0.0.1"]);
    let mut curl = server.client(&namespace, "curl");
    output(curl.args(["--silent", &format!("http://web.test:{PORT}/echo/y")]).stdout(Stdio::null()));
    let folder = Folder::new();
    let file = folder.file("all.jsonl");
    std::fs::write(&file, tracer.stop_for_text()).expect("the folder is ours");
    let port = PORT.to_string();
    let show = |from: &str, format: &str| {
        let mut command = tcp_trace();
        command
            .args(["show", from, "--port", &port, "--comm", "curl", "--color", "never", "--format", format]);
        command
    };
    let path = file.to_str().expect("the folder's name is text");
    let line = "DNS A web.test → 127.0.0.1  in ";
    for format in ["table", "ladder"] {
        let text = String::from_utf8(output(&mut show(path, format)).stdout).expect("it is text");
        assert!(text.contains(line), "{format}:\n{text}");
        assert!(text.contains("GET /echo/y"), "{format}:\n{text}");
    }
    let mut child = show("-", "table");
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it can be started");
    let bytes = std::fs::read(&file).expect("it was written");
    child.stdin.take().expect("it is piped").write_all(&bytes).expect("it is read");
    let text = String::from_utf8(child.wait_with_output().expect("it ends").stdout).expect("it is text");
    assert!(text.contains(line), "from a pipe:\n{text}");
}

#[test]
fn a_followed_command_shows_its_lookups() {
    let namespace = Namespace::new();
    let server = DnsServer::start(&namespace);
    let client = server.client(&namespace, "getent");
    for (format, name, expected) in [
        ("table", "web.test", "DNS A web.test → 127.0.0.1  in "),
        ("table", "missing.test", "DNS A missing.test → no such name (NXDOMAIN)  in "),
        ("ladder", "missing.test", "DNS A missing.test → no such name (NXDOMAIN)  in "),
    ] {
        let mut live = tcp_trace();
        live.args(["live", "--color", "never", "--format", format, "--"]).arg(client.get_program());
        live.args(client.get_args()).args(["ahosts", &format!("{name}.")]);
        let text = live.output().expect("it can be started").stderr;
        let text = String::from_utf8(text).expect("it is text");
        assert!(text.contains(expected), "{format}:\n{text}");
    }
}

#[test]
fn a_lookup_of_another_process_names_nothing() {
    let namespace = Namespace::new();
    let server = DnsServer::start(&namespace);
    let _nginx = Nginx::start_in(&namespace, PORT);
    let tracer = Tracer::start(&["--addr", "127.0.0.1"]);
    getent(&server, &namespace, "web.test");
    let mut curl = namespace.command("curl");
    output(curl.args(["--silent", &format!("http://127.0.0.1:{PORT}/echo/z")]).stdout(Stdio::null()));
    let recording = tracer.stop();
    let netns = Some(namespace.inode());
    let clients = recording.connections_of(Role::Client);
    let ours =
        clients.iter().find(|client| client.connection.network.is_some_and(|network| network.netns == netns));
    let client = ours.expect("it is recorded");
    assert_eq!((&client.dns, &client.server), (&None, &None));
    assert!(lookups(&recording, &namespace).iter().any(|dns| dns.outcome == DnsOutcome::Ok));
}

#[test]
fn sockets_that_are_not_connected_and_ipv6_are_known_too() {
    let namespace = Namespace::new();
    let _server = DnsServer::start(&namespace);
    let tracer = Tracer::start(&["--comm", "python3"]);
    let script = "import socket\n\
        q = b'\\x12\\x34\\x01\\0\\0\\x01\\0\\0\\0\\0\\0\\0\\x03six\\x04test\\0\\0\\x1c\\0\\x01'\n\
        for family, to in ((socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1'), (socket.AF_INET6, '::ffff:127.0.0.1')):\n\
        \x20   s = socket.socket(family, socket.SOCK_DGRAM)\n\
        \x20   for _ in range(2):\n\
        \x20       s.sendto(q, (to, 53))\n\
        \x20       s.recvfrom(512)\n";
    let mut python = Running::start(namespace.command("python3").args(["-c", script]));
    assert!(python.0.wait().expect("it can be waited for").success());
    let recording = tracer.stop();
    let lookups = lookups(&recording, &namespace);
    let told: Vec<_> = lookups
        .iter()
        .map(|dns| {
            assert_eq!(dns.process.as_ref().map(|process| process.pid), Some(python.pid()));
            assert_eq!((dns.outcome, dns.answers[0].data.as_str()), (DnsOutcome::Ok, "::1"));
            dns.server.address.to_string()
        })
        .collect();
    assert_eq!(told, ["127.0.0.1", "127.0.0.1", "::1", "::1", "127.0.0.1", "127.0.0.1"]);
}

#[test]
fn a_lookup_over_a_socket_without_a_peer_is_selected_by_its_port() {
    const QUESTION: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03six\x04test\0\0\x1c\0\x01";
    let namespace = Namespace::new();
    let _server = DnsServer::start(&namespace);
    let asked_for = free_port();
    let tracer = Tracer::start(&["--local-port", &asked_for.to_string()]);
    for port in [asked_for, free_port()] {
        let socket = namespace.run(|| UdpSocket::bind(("127.0.0.1", port))).expect("the port is free");
        socket.send_to(QUESTION, "127.0.0.1:53").expect("loopback takes everything");
        socket.recv_from(&mut [0; 512]).expect("it is answered");
    }
    let recording = tracer.stop();
    let ports: Vec<_> = lookups(&recording, &namespace).iter().map(|dns| dns.network.local.port).collect();
    assert_eq!(ports, [asked_for]);
}

#[test]
fn what_is_not_dns_is_reported_and_nothing_is_lost() {
    let namespace = Namespace::new();
    let tracer = Tracer::start(&["--pid", &std::process::id().to_string()]);
    let (server, client) = namespace.run(|| {
        let bind = |port| UdpSocket::bind(("127.0.0.1", port)).expect("the port is free");
        (bind(53), bind(0))
    });
    let send = |bytes: &[u8]| client.send_to(bytes, "127.0.0.1:53").expect("loopback takes everything");
    send(b"");
    send(b"hello");
    send(&[0xff; 512]);
    send(&[0; 4096]);
    let mut buffer = [0; 4096];
    let lengths: Vec<_> = (0..4).map(|_| server.recv_from(&mut buffer).expect("it came").0).collect();
    assert_eq!(lengths, [0, 5, 512, 4096]);
    let recording = tracer.stop();
    let errors: Vec<_> = lookups(&recording, &namespace).iter().map(|dns| dns.error.clone()).collect();
    let short = |length| Some(format!("{length} bytes are too short for a DNS header"));
    assert_eq!(errors[..2], [short(0), short(5)]);
    assert_eq!(recording.end.lost, 0);
}

#[test]
fn the_name_in_a_client_hello_names_the_server() {
    const NAME: &str = "www.example.com";
    let port = free_port();
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    let tracer = Tracer::start(&["--port", &port.to_string()]);
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--resolve", &format!("{NAME}:{port}:127.0.0.1")]);
    let mut curl = Running::start(curl.arg(format!("https://{NAME}:{port}/")).stdin(Stdio::null()));
    let (mut stream, _) = listener.accept().expect("curl comes");
    // Before TLS can go on, the server is gone.
    let mut hello = [0; 5];
    stream.read_exact(&mut hello).expect("curl begins");
    assert_eq!(hello[..2], [22, 3]);
    drop(stream);
    assert!(!curl.0.wait().expect("curl can be waited for").success());
    let recording = tracer.stop();
    for role in [Role::Client, Role::Server] {
        let connections = recording.connections_of(role);
        let servers: Vec<_> = connections.iter().map(|connection| connection.server.as_ref()).collect();
        let [Some(server)] = servers[..] else { panic!("{connections:?}") };
        assert_eq!((server.address.as_str(), server.source), (NAME, ServerSource::Sni));
    }
}

/// A question for the address of `nat.test`, in the wire's format.
const QUESTION: &[u8] =
    b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03nat\x04test\x00\x00\x01\x00\x01";

#[test]
fn a_translated_question_goes_to_the_server_that_the_socket_names() {
    let (near, far) = joined_namespaces();
    output(near.command("ip").args(["route", "add", "default", "via", "10.99.0.2"]));
    // Docker's own server is at another port than its clients know.
    let rules = "ip daddr 10.9.9.9 udp dport 53 dnat ip to 10.99.0.2:5353; \
                 ip daddr 10.9.9.8 udp dport 53 dnat ip to 10.99.0.2:53";
    translate(&near, &[&format!("{OUTPUT} {rules}")]);
    let bind = |namespace: &Namespace, address: &str| {
        namespace.run(|| UdpSocket::bind(address)).expect("the address is free")
    };
    let servers = [bind(&far, "10.99.0.2:5353"), bind(&far, "10.99.0.2:53")];
    let tracer = Tracer::start(&["--netns", &near.inode().to_string()]);
    for (server, asked, is_connected) in
        [(&servers[0], "10.9.9.9:53", true), (&servers[1], "10.9.9.8:53", false)]
    {
        let client = bind(&near, "0.0.0.0:0");
        if is_connected {
            client.connect(asked).expect("there is a route");
            client.send(QUESTION).expect("it is connected");
        } else {
            client.send_to(QUESTION, asked).expect("there is a route");
        }
        let mut answer = [0; QUESTION.len()];
        let (_, from) = server.recv_from(&mut answer).expect("the question comes");
        // A response (RFC 1035, section 4.1.1), without records.
        answer[2] |= 0x80;
        server.send_to(&answer, from).expect("the client is there");
        let (_, from) = client.recv_from(&mut answer).expect("the answer comes");
        assert_eq!(from.to_string(), asked);
    }
    tracer.wait_for_lines("dns", 2);
    let recording = tracer.stop();
    let found: Vec<_> =
        lookups(&recording, &near).iter().map(|dns| (dns.server.to_string(), dns.outcome)).collect();
    let outcome = DnsOutcome::NoData;
    assert_eq!(found, [("10.9.9.9:53".to_owned(), outcome), ("10.9.9.8:53".to_owned(), outcome)]);
}
