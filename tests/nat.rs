//! Address translation on this host (NAT), against what each end's own socket says of itself: getsockname(), getpeername() and
//! `ss`.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
};

use tcp_trace_model::{
    event::{Endpoints, Role, State},
    record::{Connection, Record},
};
use tcp_trace_tests::{
    Namespace, OUTPUT, POSTROUTING, PREROUTING, Recording, Routed, Tracer, joined_namespaces, output,
    stay_on_one_cpu, translate, wait_for,
};

const REQUEST: &[u8] = b"GET /nat HTTP/1.1\r\nHost: nat.test\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// Addresses that no host has: only translation leads anywhere.
const NOWHERE: &str = "10.9.9.9:80";
const NOWHERE_V6: &str = "[fd09::9]:80";

/// A host that connects, and another one.
struct Hosts {
    near: Namespace,
    far: Namespace,
}

impl Hosts {
    /// 10.99.0.1, 10.99.0.7, fd99::1 and fd99::7 are near, 10.99.0.2 and fd99::2 are far, and everything else is behind the far.
    fn new() -> Self {
        let (near, far) = joined_namespaces();
        for arguments in [
            "address add 10.99.0.7/24 dev veth0",
            "address add fd99::7/64 dev veth0 nodad",
            "route add default via 10.99.0.2",
            "-6 route add default via fd99::2",
        ] {
            output(near.command("ip").args(arguments.split(' ')));
        }
        Self { near, far }
    }

    fn netns(&self) -> String {
        format!("{},{}", self.near.inode(), self.far.inode())
    }
}

fn listen(namespace: &Namespace, address: &str) -> TcpListener {
    namespace.run(|| TcpListener::bind(address)).unwrap_or_else(|error| panic!("{address}: {error}"))
}

/// What the two sockets of a connection say of themselves: getsockname() and getpeername().
#[derive(Clone, Copy, Debug)]
struct Truth {
    client: Endpoints,
    server: Endpoints,
}

fn ends(stream: &TcpStream) -> Endpoints {
    let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    Endpoints {
        local: canonical(stream.local_addr().expect("it is connected")),
        peer: canonical(stream.peer_addr().expect("it is connected")),
    }
}

/// A connection with one exchange, which the client closes first.
fn converse(from: &Namespace, to: &str, listener: &TcpListener) -> Truth {
    let mut client = from.run(|| TcpStream::connect(to)).unwrap_or_else(|error| panic!("{to}: {error}"));
    let (mut server, _) = listener.accept().expect("the client is connected");
    let truth = Truth { client: ends(&client), server: ends(&server) };
    client.write_all(REQUEST).expect("it is connected");
    server.read_exact(&mut [0; REQUEST.len()]).expect("the request comes");
    server.write_all(RESPONSE).expect("it is connected");
    client.read_exact(&mut [0; RESPONSE.len()]).expect("the response comes");
    drop(client);
    assert_eq!(server.read(&mut [0]).expect("the FIN comes"), 0);
    truth
}

/// The end with these addresses of its own.
fn end(recording: &Recording, role: Role, own: Endpoints) -> &Connection {
    let is_it = |connection: &&Connection| {
        let network = connection.connection.network.expect("both ends are known");
        (network.local, network.peer) == (own.local.into(), own.peer.into())
    };
    let ends = recording.connections_of(role);
    let found: Vec<_> = ends.iter().copied().filter(is_it).collect();
    let [found] = found[..] else { panic!("one {role:?} {own:?} in {ends:#?}") };
    found
}

/// Whose segments leave their host translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Translates {
    Client,
    Server,
    Both,
    Neither,
}

/// Compares both ends of a conversation with the truth.
fn assert_recorded(recording: &Recording, truth: Truth, translates: Translates) {
    let client = end(recording, Role::Client, truth.client);
    let server = end(recording, Role::Server, truth.server);
    let translated =
        |connection: &Connection| connection.connection.network.and_then(|network| network.translated);
    // What one end sends reaches the other with the other's own addresses, where nothing else is on the way.
    let of_client =
        matches!(translates, Translates::Client | Translates::Both).then(|| truth.server.reversed().into());
    let of_server =
        matches!(translates, Translates::Server | Translates::Both).then(|| truth.client.reversed().into());
    assert_eq!((translated(client), translated(server)), (of_client, of_server), "{truth:?}");
    assert_eq!(client.peer_connection, Some(server.connection.id), "{truth:?}");
    assert_eq!(server.peer_connection, Some(client.connection.id), "{truth:?}");
    let (sent, received) = (REQUEST.len() as u64, RESPONSE.len() as u64);
    assert_eq!((client.bytes.sent, client.bytes.received), (sent, received));
    assert_eq!((server.bytes.sent, server.bytes.received), (received, sent));
    for end in [client, server] {
        assert!(end.seen_from_start, "{end:#?}");
        assert_eq!(end.handshake.and_then(|handshake| handshake.acknowledged), Some(true), "{end:#?}");
        assert_eq!(
            end.connection.process.as_ref().map(|process| process.pid),
            Some(std::process::id()),
            "{end:#?}"
        );
        let exchanges: Vec<_> = recording.http_on(end.connection.id).collect();
        assert!(exchanges.iter().all(|http| http.connection.peer_connection == end.peer_connection));
        assert!(
            matches!(exchanges[..], [http] if http.exchange.request.is_some() && http.exchange.response.is_some()),
            "{exchanges:#?}"
        );
        for transition in recording.transitions().filter(|of| of.connection.id == end.connection.id) {
            assert_eq!(transition.connection.network, end.connection.network, "{transition:#?}");
        }
    }
    assert_eq!(recording.end.lost, 0);
}

/// Records a conversation of two hosts, twice: what depends on the first one of a listener shows in the second.
fn assert_followed(hosts: &Hosts, to: &str, listener: &TcpListener, translates: Translates) {
    stay_on_one_cpu();
    let tracer = Tracer::start(&["--netns", &hosts.netns()]);
    let truths = [(); 2].map(|()| converse(&hosts.near, to, listener));
    tracer.wait_for_lines("http", 4);
    tracer.wait_for_closed();
    let recording = tracer.stop();
    for truth in truths {
        assert_ne!(truth.client.reversed(), truth.server, "it is translated: {truth:?}");
        assert_recorded(&recording, truth, translates);
    }
}

#[test]
fn redirect_of_what_a_process_sends() {
    let hosts = Hosts::new();
    translate(&hosts.near, &[&format!("{OUTPUT} tcp dport 80 redirect to :15001")]);
    assert_followed(&hosts, NOWHERE, &listen(&hosts.near, "0.0.0.0:15001"), Translates::Both);
    assert_followed(&hosts, NOWHERE_V6, &listen(&hosts.near, "[::]:15001"), Translates::Both);
}

#[test]
fn redirect_to_a_listener_of_both_families() {
    let hosts = Hosts::new();
    translate(&hosts.near, &[&format!("{OUTPUT} tcp dport 80 redirect to :15001")]);
    assert_followed(&hosts, NOWHERE, &listen(&hosts.near, "[::]:15001"), Translates::Both);
}

#[test]
fn dnat_to_another_host() {
    let hosts = Hosts::new();
    translate(
        &hosts.near,
        &[&format!(
            "{OUTPUT} ip daddr 10.9.9.9 tcp dport 80 dnat ip to 10.99.0.2:18080; ip6 daddr fd09::9 tcp dport 80 dnat ip6 to [fd99::2]:18080"
        )],
    );
    assert_followed(&hosts, NOWHERE, &listen(&hosts.far, "10.99.0.2:18080"), Translates::Client);
    assert_followed(&hosts, NOWHERE_V6, &listen(&hosts.far, "[fd99::2]:18080"), Translates::Client);
}

#[test]
fn dnat_by_a_map() {
    let hosts = Hosts::new();
    translate(
        &hosts.near,
        &[&format!(
            "{OUTPUT} ip daddr 10.9.9.9 dnat ip addr . port to tcp dport map {{ 80 : 10.99.0.2 . 18080, 81 : 10.99.0.2 . 18081 }}"
        )],
    );
    assert_followed(&hosts, NOWHERE, &listen(&hosts.far, "10.99.0.2:18080"), Translates::Client);
    assert_followed(&hosts, "10.9.9.9:81", &listen(&hosts.far, "10.99.0.2:18081"), Translates::Client);
}

#[test]
fn snat_and_masquerade() {
    let hosts = Hosts::new();
    translate(
        &hosts.near,
        &[&format!(
            "{POSTROUTING} tcp dport 18080 snat ip to 10.99.0.7:7000-7100; tcp dport 18081 masquerade to :7200-7300; \
         ip6 daddr fd99::2 tcp dport 18082 snat ip6 to [fd99::7]:7400-7500"
        )],
    );
    for address in ["10.99.0.2:18080", "10.99.0.2:18081", "[fd99::2]:18082"] {
        assert_followed(&hosts, address, &listen(&hosts.far, address), Translates::Client);
    }
}

#[test]
fn a_published_port_is_translated_where_the_server_is() {
    let hosts = Hosts::new();
    translate(&hosts.far, &[&format!("{PREROUTING} tcp dport 8088 redirect to :18080")]);
    for (address, listener) in [("10.99.0.2:8088", "10.99.0.2:18080"), ("[fd99::2]:8088", "[fd99::2]:18080")]
    {
        assert_followed(&hosts, address, &listen(&hosts.far, listener), Translates::Server);
    }
}

#[test]
fn a_hairpin_changes_both_addresses_at_both_ends() {
    let hosts = Hosts::new();
    translate(
        &hosts.near,
        &[
            &format!("{OUTPUT} ip daddr 10.9.9.9 tcp dport 80 dnat ip to 10.99.0.1:15001"),
            &format!("{POSTROUTING} tcp dport 15001 snat ip to 10.99.0.7:7000-7100"),
        ],
    );
    assert_followed(&hosts, NOWHERE, &listen(&hosts.near, "10.99.0.1:15001"), Translates::Both);
}

#[test]
fn the_ends_meet_although_a_third_host_translates() {
    let hosts = Routed::new();
    translate(
        &hosts.router,
        &[
            &format!("{PREROUTING} ip daddr 10.98.1.1 tcp dport 8088 dnat ip to 10.98.2.2:18080"),
            &format!("{POSTROUTING} ip daddr 10.98.2.2 masquerade"),
        ],
    );
    stay_on_one_cpu();
    let listener = listen(&hosts.server, "10.98.2.2:18080");
    let tracer = Tracer::start(&["--netns", &format!("{},{}", hosts.client.inode(), hosts.server.inode())]);
    let truth = converse(&hosts.client, "10.98.1.1:8088", &listener);
    tracer.wait_for_lines("http", 2);
    tracer.wait_for_closed();
    assert_recorded(&tracer.stop(), truth, Translates::Neither);
}

/// What is recorded of an end, without what depends on the moment.
fn told(recording: &Recording, end: &Connection) -> String {
    let segments = recording.untimed_segments(end.connection.id);
    let exchanges: Vec<_> = recording
        .http_on(end.connection.id)
        .map(|http| {
            (
                http.exchange.index,
                http.exchange.request.clone(),
                http.exchange.response.clone(),
                http.exchange.outcome,
            )
        })
        .collect();
    let states: Vec<_> = end.states.iter().map(|span| span.state).collect();
    format!(
        "{:#?}",
        (
            (end.connection.role, end.connection.network, states),
            (recording.life(end.connection.id), segments, end.bytes),
            exchanges
        )
    )
}

/// Conversations recorded without a filter and with each of these, which select the client's or the server's end, or both:
/// whatever is selected is recorded whole. Of the server's first connection the SYN may be missing, where only its translated
/// address is selected: it is known when the answer leaves.
fn assert_selected(hosts: &Hosts, to: &str, listener: &TcpListener, filters: &[(&[&str], bool, bool)]) {
    stay_on_one_cpu();
    let netns = hosts.netns();
    let all = Tracer::start(&["--netns", &netns]);
    let filtered: Vec<_> =
        filters.iter().map(|(filter, ..)| Tracer::start(&[&["--netns", &netns], *filter].concat())).collect();
    let truths = [(); 3].map(|()| converse(&hosts.near, to, listener));
    all.wait_for_lines("http", 2 * truths.len());
    all.wait_for_closed();
    let recordings: Vec<_> = filtered.into_iter().map(Tracer::stop).collect();
    let all = all.stop();
    for (recording, (filter, client, server)) in recordings.iter().zip(filters) {
        assert_eq!(recording.end.lost, 0, "{filter:?}");
        let selected = truths.len() * (usize::from(*client) + usize::from(*server));
        assert_eq!(
            recording.connections().filter(|end| end.connection.role != Some(Role::Listener)).count(),
            selected,
            "{filter:?}"
        );
        for (number, truth) in truths.iter().enumerate() {
            if *client {
                let [expected, found] =
                    [&all, recording].map(|of| told(of, end(of, Role::Client, truth.client)));
                assert_eq!(found, expected, "{filter:?}");
            }
            if *server {
                let [expected, found] = [&all, recording].map(|of| end(of, Role::Server, truth.server));
                assert_eq!(found.bytes, expected.bytes, "{filter:?}");
                assert_eq!(recording.http_on(found.connection.id).count(), 1, "{filter:?}");
                if number > 0 {
                    assert_eq!(told(recording, found), told(&all, expected), "{filter:?}");
                }
            }
            if *client && *server {
                let client = end(recording, Role::Client, truth.client);
                let server = end(recording, Role::Server, truth.server);
                assert_eq!(client.peer_connection, Some(server.connection.id), "{filter:?}");
            }
        }
    }
}

#[test]
fn either_address_selects_a_redirected_conversation() {
    let hosts = Hosts::new();
    translate(&hosts.near, &[&format!("{OUTPUT} tcp dport 80 redirect to :15001")]);
    let listener = listen(&hosts.near, "0.0.0.0:15001");
    assert_selected(
        &hosts,
        NOWHERE,
        &listener,
        &[
            (&["--port", "80"], true, true),
            (&["--port", "15001"], true, true),
            (&["--peer-port", "80"], true, false),
            (&["--peer-port", "15001"], true, false),
            (&["--local-port", "80"], false, true),
            (&["--local-port", "15001"], false, true),
            (&["--addr", "10.9.9.9"], true, true),
            (&["--addr", "127.0.0.1"], true, true),
            (&["--port", "81"], false, false),
            (&["--addr", "10.9.9.8"], false, false),
        ],
    );
}

#[test]
fn either_address_selects_what_is_translated_to_another_host() {
    let hosts = Hosts::new();
    translate(
        &hosts.near,
        &[
            &format!("{OUTPUT} ip6 daddr fd09::9 tcp dport 80 dnat ip6 to [fd99::2]:18080"),
            &format!("{POSTROUTING} tcp dport 18080 snat ip6 to [fd99::7]:7000-7100"),
        ],
    );
    let listener = listen(&hosts.far, "[fd99::2]:18080");
    assert_selected(
        &hosts,
        NOWHERE_V6,
        &listener,
        &[
            (&["--port", "80"], true, false),
            (&["--port", "18080"], true, true),
            (&["--peer-port", "18080"], true, false),
            (&["--addr", "fd09::9"], true, false),
            (&["--addr", "fd99::2"], true, true),
            (&["--addr", "fd99::7", "--peer-port", "80"], true, false),
        ],
    );
}

#[test]
fn older_sockets_are_selected_by_either_address() {
    stay_on_one_cpu();
    let hosts = Hosts::new();
    translate(&hosts.near, &[&format!("{OUTPUT} tcp dport 80 redirect to :15001")]);
    let listener = listen(&hosts.near, "0.0.0.0:15001");
    let mut client = hosts.near.run(|| TcpStream::connect(NOWHERE)).expect("it is redirected");
    let (mut server, _) = listener.accept().expect("the client is connected");
    let netns = hosts.netns();
    let filters =
        [["--peer-port", "80"], ["--peer-port", "15001"], ["--addr", "10.9.9.9"], ["--addr", "127.0.0.1"]];
    let tracers = filters.map(|[kind, value]| Tracer::start(&["--netns", &netns, kind, value]));
    tracers.iter().for_each(Tracer::wait_until_older_are_known);
    client.write_all(REQUEST).expect("it is connected");
    server.read_exact(&mut [0; REQUEST.len()]).expect("the request comes");
    server.write_all(RESPONSE).expect("it is connected");
    client.read_exact(&mut [0; RESPONSE.len()]).expect("the response comes");
    let own = ends(&client);
    for (tracer, filter) in tracers.into_iter().zip(filters) {
        tracer.wait_for_lines("http", 1);
        let recording = tracer.stop();
        let is_ours = |end: &&Connection| {
            end.connection.network.is_some_and(|network| network.local == own.local.into())
        };
        let found = recording.connections().find(is_ours).unwrap_or_else(|| panic!("{filter:?}"));
        let network = found.connection.network.expect("both ends are known");
        assert_eq!(network.peer, own.peer.into(), "{filter:?}");
        assert_eq!(network.translated, Some(ends(&server).reversed().into()), "{filter:?}");
        assert!(recording.http_on(found.connection.id).next().is_some(), "{filter:?}");
    }
}

#[test]
fn time_wait_lasts_as_long_as_the_kernel_says() {
    stay_on_one_cpu();
    let hosts = Hosts::new();
    translate(
        &hosts.near,
        &[&format!("{OUTPUT} tcp dport 80 redirect to :15001; tcp dport 82 dnat ip to 10.99.0.2:18080")],
    );
    let listeners = [listen(&hosts.near, "0.0.0.0:15001"), listen(&hosts.far, "10.99.0.2:18080")];
    let tracer = Tracer::start(&["--netns", &hosts.netns()]);
    let kept = converse(&hosts.near, NOWHERE, &listeners[0]);
    let killed = converse(&hosts.near, "10.9.9.9:82", &listeners[1]);
    let is_time_wait = |of: Endpoints| {
        let (local_port, peer_port) = (of.local.port(), of.peer.port());
        let sockets = hosts.near.ss(local_port);
        sockets.iter().any(|socket| socket.state == "TIME_WAIT" && socket.peer_port == peer_port)
    };
    assert!(is_time_wait(kept.client) && is_time_wait(killed.client));
    // The kernel's list is read until it no longer has this one.
    let filter = format!("sport = :{}", killed.client.local.port());
    tracer.wait_for_lines("http", 4);
    let ended = |of: Endpoints| {
        tracer.records().iter().any(|record| match record {
            Record::Transition(transition) => {
                let network = transition.connection.ends();
                (transition.old, network.local, network.peer)
                    == (State::TimeWait, of.local.into(), of.peer.into())
            }
            _ => false,
        })
    };
    output(hosts.near.command("ss").args(["-K", "state", "time-wait", &filter]));
    assert!(!is_time_wait(killed.client), "ss -K ends it");
    wait_for("the end of the one that was killed", || ended(killed.client).then_some(()));
    assert!(is_time_wait(kept.client) && !ended(kept.client));
    let recording = tracer.stop();
    let client = end(&recording, Role::Client, kept.client);
    assert_eq!(
        client.states.last().map(|span| (span.state, span.duration_us)),
        Some((State::TimeWait, None))
    );
}

#[test]
fn a_refused_connect_names_where_the_process_connected_to() {
    let hosts = Hosts::new();
    translate(&hosts.near, &[&format!("{OUTPUT} tcp dport 80 redirect to :15001")]);
    let tracer = Tracer::start(&["--netns", &hosts.netns()]);
    hosts.near.run(|| TcpStream::connect(NOWHERE)).expect_err("nobody listens");
    tracer.wait_for_lines("connection", 1);
    let recording = tracer.stop();
    let clients = recording.connections_of(Role::Client);
    let [client] = clients[..] else { panic!("{clients:#?}") };
    let network = client.connection.network.expect("both ends are known");
    assert_eq!(network.peer.to_string(), NOWHERE);
    assert_eq!(network.translated.map(|ends| ends.peer.to_string()).as_deref(), Some("127.0.0.1:15001"));
    assert_eq!(client.close.reason.as_deref(), Some("ECONNREFUSED"));
}

#[test]
fn ipvs() {
    let hosts = Hosts::new();
    let is_there = hosts.near.run(|| std::fs::exists("/proc/net/ip_vs")).unwrap_or_default();
    let has_program = Command::new("ipvsadm").arg("--version").output().is_ok();
    if !is_there || !has_program {
        eprintln!("skipped: this kernel has no IPVS (CONFIG_IP_VS), or there is no ipvsadm");
        return;
    }
    for arguments in ["-A -t 10.9.9.9:80 -s rr", "-a -t 10.9.9.9:80 -r 10.99.0.2:80 -m"] {
        output(hosts.near.command("ipvsadm").args(arguments.split(' ')));
    }
    hosts.near.set("ipv4/vs/conntrack", "1");
    assert_followed(&hosts, NOWHERE, &listen(&hosts.far, "10.99.0.2:80"), Translates::Client);
}
