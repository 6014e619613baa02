//! Two hosts, as network namespaces joined by a veth pair.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use tcp_trace_model::event::Role;
use tcp_trace_tests::{
    Curl, Namespace, Nginx, Tracer, accept, assert_same, curl_in, ip_json, joined_namespaces, output,
    wait_for,
};

const REQUESTS: usize = 200;
const AT_ONCE: usize = 50;

/// How long after its last connection a namespace may live on in the tracer: sockets in it are kept for ten seconds.
const KEPT: Duration = Duration::from_secs(30);

/// Every namespace has its own ports, so the same one can be used; the address makes it this test's own.
const PORT: u16 = 8080;

#[test]
fn requests_between_namespaces_are_recorded_once_per_end() {
    let (client, server) = joined_namespaces();
    for (address, net) in [("10.99.0.2", "10.99.0.0/24"), ("[fd99::2]", "fd99::/64")] {
        let nginx = Nginx::start_in(&server, PORT);
        let tracer = Tracer::start(&["--addr", net, "--port", &PORT.to_string()]);
        let request = |number: usize| curl_in(&client, &[&nginx.url(address, &format!("/echo/{number}"))]);
        let mut curls: Vec<Curl> = (0..REQUESTS).flat_map(request).collect();
        let concurrent = thread::scope(|scope| {
            let request = &request;
            let threads: Vec<_> = (0..AT_ONCE)
                .map(|thread| {
                    let numbers = (REQUESTS + thread..2 * REQUESTS).step_by(AT_ONCE);
                    scope.spawn(move || numbers.flat_map(request).collect::<Vec<_>>())
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("no curl fails")).collect::<Vec<_>>()
        });
        curls.extend(concurrent);
        // Of each two ends, the one that closed second; the other is in TIME_WAIT by then.
        tracer.wait_for_lines("connection", 2 * REQUESTS);
        let recording = tracer.stop();
        assert_same(&recording, &nginx.access_log(2 * REQUESTS), &curls);
        for (role, namespace) in [(Role::Client, &client), (Role::Server, &server)] {
            for connection in recording.connections_of(role) {
                assert_eq!(
                    connection.connection.network.expect("it is known").netns,
                    Some(namespace.inode()),
                    "{role:?}"
                );
            }
        }
    }
}

/// A link-local address of a namespace of two that are joined, on the device between them.
fn link_local(namespace: &Namespace, host: u16) -> SocketAddrV6 {
    let address = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, host);
    let net = format!("{address}/64");
    output(namespace.command("ip").args(["address", "add", &net, "dev", "veth0", "nodad"]));
    let device = ip_json(namespace, &["link", "show", "dev", "veth0"])["ifindex"].as_u64().expect("a number");
    SocketAddrV6::new(address, PORT, 0, u32::try_from(device).expect("devices are few"))
}

#[test]
fn a_connection_between_link_local_addresses_is_recorded() {
    let (near, far) = joined_namespaces();
    let (own, server) = (link_local(&near, 0x11), link_local(&far, 0x12));
    let listener = far.run(|| TcpListener::bind(server)).expect("the namespace is this test's own");
    let tracer = Tracer::start(&["--addr", "fe80::12", "--port", &PORT.to_string()]);
    let from_near = SocketAddrV6::new(*server.ip(), PORT, 0, own.scope_id());
    let mut client = near.run(|| TcpStream::connect(from_near)).expect("a listener is there");
    let mut accepted = accept(&listener);
    client.write_all(b"hello").expect("it is connected");
    accepted.read_exact(&mut [0; 5]).expect("the client wrote");
    tracer.wait_for_lines("transition", 4);
    let recording = tracer.stop();
    for (role, namespace) in [(Role::Client, &near), (Role::Server, &far)] {
        let [end] = recording.connections_of(role)[..] else { panic!("one {role:?}: {recording:#?}") };
        let network = end.connection.ends();
        let server = if role == Role::Client { network.peer } else { network.local };
        assert_eq!(server.address, "fe80::12".parse::<Ipv6Addr>().expect("an address"), "{role:?}");
        assert_eq!((end.open, network.netns), (true, Some(namespace.inode())), "{role:?}");
    }
}

/// Both threads of the tracer that enter namespaces, for TIME_WAIT and for routes, leave them again: else no namespace of
/// a container, and no interface in it, would be freed while the tracer runs.
#[test]
fn a_namespace_goes_away_while_its_connections_were_recorded() {
    let (outer, inner) = joined_namespaces();
    let tracer = Tracer::start(&["--addr", "10.99.0.0/24", "--port", &PORT.to_string()]);
    let server: SocketAddr = format!("10.99.0.2:{PORT}").parse().expect("an address");
    let listener = inner.run(|| TcpListener::bind(server)).expect("the namespace is this test's own");
    let client = outer.run(|| TcpStream::connect(server)).expect("a listener is there");
    // The server closes first, so TIME_WAIT is in the namespace that goes away.
    drop(listener.accept().expect("the client is connected"));
    assert_eq!((&client).read(&mut [0]).expect("the FIN comes"), 0);
    drop((client, listener));
    wait_for("TIME_WAIT to be looked for", || tracer.text().contains("\"new\":\"TIME_WAIT\"").then_some(()));
    // The list of mini-sockets is read about once a second.
    wait_for("a socket of the tracer in the namespace", || {
        let netlink =
            inner.run(|| fs::read_to_string("/proc/thread-self/net/netlink")).expect("it can be read");
        let ports = netlink.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse().ok());
        // The kernel gives a netlink socket its process's id as port (`netlink_autobind()`).
        ports.into_iter().any(|port: u32| port == tracer.pid()).then_some(())
    });
    drop(inner);
    // The kernel removes the other end of the veth pair with the namespace.
    let began = Instant::now();
    while has_veth(&outer) {
        assert!(began.elapsed() < KEPT, "the namespace is still there after {:?}", began.elapsed());
        thread::sleep(Duration::from_millis(100));
    }
    let recording = tracer.stop();
    assert_eq!(recording.connections_of(Role::Server).len(), 1);
}

fn has_veth(namespace: &Namespace) -> bool {
    let devices = namespace.run(|| fs::read_to_string("/proc/thread-self/net/dev")).expect("it can be read");
    devices.contains("veth0:")
}
