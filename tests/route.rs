//! The way of connections out of the host, against `ip route get`, `ip neigh` and the MACs of the interfaces.

use std::process::Stdio;

use tcp_trace_model::{
    event::Role,
    record::{Connection, RouteType},
};
use tcp_trace_tests::{
    DnsServer, Folder, Namespace, Nginx, Recording, Routed, Tracer, curl_in, ip_json, output,
    stay_on_one_cpu, tcp_trace,
};

/// A port of servers: each test has namespaces of its own.
const PORT: u16 = 8080;

/// A peer, as it stands in a URL, and its address.
fn in_url(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

/// The summary of curl's connection from a namespace to an address.
fn recorded(client: &Namespace, nginx: &Nginx, address: &str) -> Connection {
    let tracer = Tracer::start(&["--comm", "curl", "--port", &PORT.to_string()]);
    curl_in(client, &[&nginx.url(&in_url(address), "/echo/x")]);
    tracer.wait_for_closed();
    of_namespace(&tracer.stop(), client)
}

/// The only client's connection of a namespace.
fn of_namespace(recording: &Recording, namespace: &Namespace) -> Connection {
    let netns = Some(namespace.inode());
    let clients = recording.connections_of(Role::Client);
    let ours = clients
        .into_iter()
        .filter(|client| client.connection.network.is_some_and(|network| network.netns == netns));
    let ours: Vec<_> = ours.collect();
    let [client] = ours[..] else { panic!("one connection of the namespace: {ours:?}") };
    client.clone()
}

/// Compares a recorded route with what `ip route get` says of the same addresses.
fn assert_same_route(namespace: &Namespace, connection: &Connection, kind: RouteType) {
    let route = connection.route.as_ref().expect("its route is recorded");
    let network = connection.connection.network.expect("both ends are known");
    let (local, peer) = (network.local.address.to_string(), network.peer.address.to_string());
    let told = ip_json(namespace, &["route", "get", &peer, "from", &local]);
    assert_eq!(route.kind, kind, "{told}");
    assert_eq!(told["type"] == "local", kind == RouteType::Local, "{told}");
    let name = route.interface.name.as_ref().expect("it has a name").printable().to_string();
    assert_eq!(told["dev"], *name);
    let link = ip_json(namespace, &["link", "show", "dev", &name]);
    assert_eq!(link["ifindex"], route.interface.index);
    let preferred = ip_json(namespace, &["route", "get", &peer])["prefsrc"].clone();
    assert_eq!(preferred, route.preferred_source.expect("there is one").to_string());
    let gateway = told["gateway"].as_str().map(str::to_owned);
    let expected = match kind {
        RouteType::Local => None,
        RouteType::OnLink => Some(peer),
        RouteType::Gateway => gateway.clone(),
    };
    assert_eq!(gateway.is_some(), kind == RouteType::Gateway, "{told}");
    let next_hop = route.next_hop.as_ref();
    assert_eq!(next_hop.map(|hop| hop.address.to_string()), expected);
    if let Some(hop) = next_hop {
        let neighbour = ip_json(namespace, &["neigh", "show", &hop.address.to_string(), "dev", &name]);
        assert_eq!(neighbour["lladdr"].as_str(), hop.mac.as_deref(), "{neighbour}");
        let state = hop.state.as_deref().expect("it is in the table");
        // It ages while it is compared.
        assert!(["REACHABLE", "STALE", "DELAY", "PROBE"].contains(&state), "{hop:?} {neighbour}");
    }
}

#[test]
fn a_server_behind_a_router_is_reached_by_the_routers_mac() {
    let hosts = Routed::new();
    let nginx = Nginx::start_in(&hosts.server, PORT);
    let mac = ip_json(&hosts.router, &["link", "show", "dev", "near"])["address"].clone();
    for (address, gateway) in [("10.98.2.2", "10.98.1.1"), ("fd98:2::2", "fd98:1::1")] {
        let client = recorded(&hosts.client, &nginx, address);
        assert_same_route(&hosts.client, &client, RouteType::Gateway);
        let next_hop = client.route.expect("it was compared").next_hop.expect("it was compared");
        assert_eq!((next_hop.address.to_string().as_str(), next_hop.mac.as_deref()), (gateway, mac.as_str()));
    }
}

#[test]
fn a_neighbour_is_reached_by_its_own_mac() {
    let hosts = Routed::new();
    let nginx = Nginx::start_in(&hosts.router, PORT);
    let mac = ip_json(&hosts.router, &["link", "show", "dev", "near"])["address"].clone();
    for address in ["10.98.1.1", "fd98:1::1"] {
        let client = recorded(&hosts.client, &nginx, address);
        assert_same_route(&hosts.client, &client, RouteType::OnLink);
        let next_hop = client.route.expect("it was compared").next_hop.expect("it was compared");
        assert_eq!(next_hop.mac.as_deref(), mac.as_str());
    }
}

#[test]
fn this_host_itself_is_reached_by_loopback() {
    let hosts = Routed::new();
    let nginx = Nginx::start_in(&hosts.client, PORT);
    for address in ["127.0.0.1", "::1", "10.98.1.2", "fd98:1::2"] {
        let client = recorded(&hosts.client, &nginx, address);
        assert_same_route(&hosts.client, &client, RouteType::Local);
        assert_eq!(client.route.expect("it was compared").interface.name, Some("lo".into()));
    }
}

#[test]
fn a_source_of_the_programs_choice_is_not_the_preferred_one() {
    let hosts = Routed::new();
    output(hosts.client.command("ip").args(["address", "add", "10.98.1.9/24", "dev", "near"]));
    let nginx = Nginx::start_in(&hosts.server, PORT);
    let tracer = Tracer::start(&["--comm", "curl"]);
    curl_in(&hosts.client, &["--interface", "10.98.1.9", &nginx.url("10.98.2.2", "/echo/x")]);
    tracer.wait_for_closed();
    let client = of_namespace(&tracer.stop(), &hosts.client);
    assert_same_route(&hosts.client, &client, RouteType::Gateway);
    assert_eq!(
        client.connection.network.expect("both ends are known").local.address.to_string(),
        "10.98.1.9"
    );
    let preferred = client.route.expect("it was compared").preferred_source;
    assert_eq!(preferred.map(|address| address.to_string()).as_deref(), Some("10.98.1.2"));
}

#[test]
fn servers_have_no_route() {
    let hosts = Routed::new();
    let nginx = Nginx::start_in(&hosts.server, PORT);
    let tracer = Tracer::start(&["--port", &PORT.to_string(), "--addr", "10.98.2.2"]);
    curl_in(&hosts.client, &[&nginx.url("10.98.2.2", "/echo/x")]);
    tracer.wait_for_lines("http", 2);
    let recording = tracer.stop();
    let netns = Some(hosts.server.inode());
    let mut servers = recording.connections_of(Role::Server);
    servers.retain(|server| server.connection.network.is_some_and(|network| network.netns == netns));
    assert!(matches!(servers[..], [server] if server.route.is_none()), "{servers:?}");
}

/// A command of the client that is followed, and what `live` prints of it as a ladder.
fn ladder_of(command: &std::process::Command) -> String {
    let mut live = tcp_trace();
    live.args(["live", "--color", "never", "--format", "ladder", "--"]).arg(command.get_program());
    let printed = live.args(command.get_args()).stdin(Stdio::null()).output().expect("it can be started");
    String::from_utf8(printed.stderr).expect("it prints text")
}

#[test]
fn a_neighbour_that_does_not_answer_has_no_mac() {
    let hosts = Routed::new();
    let mut curl = hosts.client.command("curl");
    curl.args(["--silent", "http://10.98.1.77:8080/"]);
    let text = ladder_of(&curl);
    for words in [" via near, on link (no MAC: ", "failed (EHOSTUNREACH)", "tcp-trace explain EHOSTUNREACH, "]
    {
        assert!(text.contains(words), "no {words:?} in:\n{text}");
    }
}

/// The steps of a URL's life, in order.
fn assert_steps(text: &str, steps: &[&str]) {
    let mut rest = text;
    for step in steps {
        let (_, behind) = rest.split_once(step).unwrap_or_else(|| panic!("no {step:?} in order in:\n{text}"));
        rest = behind;
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn a_ladder_shows_the_life_of_a_url_from_its_name_to_the_close() {
    stay_on_one_cpu();
    let hosts = Routed::new();
    let dns = DnsServer::start(&hosts.client);
    let _nginx = Nginx::start_in(&hosts.server, PORT);
    let mut curl = dns.client(&hosts.client, "curl");
    curl.args(["--silent", "--output", "/dev/null", &format!("http://www.far.test:{PORT}/echo/x?y=1")]);
    let steps = [
        "URL      http://www.far.test:8080/echo/x?y=1\n",
        "name     DNS A www.far.test → far.test → 10.98.2.2  in ",
        "from 127.0.0.1:53, ",
        " before the connect\n",
        "         DNS AAAA www.far.test → far.test → no AAAA record  in ",
        "address  10.98.2.2:8080\n",
        "from     10.98.1.2:",
        " via near, next hop 10.98.1.1 (5e:00:53:00:01:01)\n",
        "├─ SYN x=",
        "◀",
        "SYN+ACK y=",
        "├─ ACK seq=x+1 ack=y+1",
        "├─ GET /echo/x?y=1",
        "200 OK",
        "├─ FIN+ACK",
        "TIME_WAIT after ",
        "closed by the client after ",
        "\nmore: tcp-trace explain life-of-a-URL, next-hop, three-way-handshake,\n    four-step-close, TIME_WAIT\n",
    ];
    let text = ladder_of(&curl);
    assert_steps(&text, &steps);
    assert!(!text.contains("Lookups without a connection"), "{text}");
    // A recording says the same.
    let folder = Folder::new();
    let file = folder.file("recording.jsonl");
    let mut record = tcp_trace();
    record.args(["record", "-o"]).arg(&file).arg("--").arg(curl.get_program()).args(curl.get_args());
    output(&mut record);
    let mut show = tcp_trace();
    show.arg("show").arg(&file).args(["--color", "never", "--format", "ladder"]);
    let text = String::from_utf8(output(&mut show).stdout).expect("it prints text");
    assert_steps(&text, &steps);
    // What it refers to is there.
    let topics = "life-of-a-URL, next-hop, three-way-handshake, four-step-close, TIME_WAIT";
    let explained = output(tcp_trace().args(["explain", "--lang", "en"]).args(topics.split(' '))).stdout;
    let explained = String::from_utf8(explained).expect("it prints text");
    for topic in topics.split(", ") {
        assert!(explained.lines().any(|line| line == topic), "{topic}:\n{explained}");
    }
}
