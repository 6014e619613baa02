//! A recording against what a server logged and curl reported.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Debug,
};

use tcp_trace_model::{
    event::Role,
    record::{Connection, ConnectionId, Http, Outcome},
};

use crate::{AccessLogLine, Curl, Recording, logged::client_port};

/// What distinguishes requests: the client's port, which may come again in a long run, and the target, which does not.
type Key = (u16, String);

/// Every request that curl made and nginx logged is in the recording exactly once per end, with the figures
/// of both, and nothing else is.
pub fn assert_same(recording: &Recording, log: &[AccessLogLine], curls: &[Curl]) {
    assert_same_at("nginx", recording, log, curls);
}

/// The same for a server whose processes have this name.
pub fn assert_same_at(server_name: &str, recording: &Recording, log: &[AccessLogLine], curls: &[Curl]) {
    assert_eq!(recording.end.lost, 0);
    let server = exchanges_of(recording, Role::Server);
    let client = exchanges_of(recording, Role::Client);
    let curls = by_key(curls, |curl| (curl.local_port, curl.target().to_owned()));
    let log = by_key(log, |line| (line.remote_port, line.uri.clone()));
    for (whose, keys) in [
        ("server's exchanges", server.keys().collect::<BTreeSet<_>>()),
        ("client's exchanges", client.keys().collect()),
        ("transfers", curls.keys().collect()),
    ] {
        assert_eq!(keys, log.keys().collect(), "{whose}");
    }
    for (key, line) in log {
        assert_figures(server[&key], line);
        assert_figures(client[&key], line);
        assert_process(server[&key], line.pid, server_name);
        assert_is_curls(client[&key], curls[&key]);
    }
    assert_ends_agree(recording);
}

/// The exchange at the client's end is this transfer.
fn assert_is_curls(http: &Http, curl: &Curl) {
    assert_process(http, curl.pid, "curl");
    let (Some(request), Some(response)) = (&http.exchange.request, &http.exchange.response) else {
        panic!("half an exchange: {http:?}");
    };
    assert_eq!(
        (response.status_code, response.header_size, response.body.size),
        (curl.http_code, curl.size_header, curl.size_download),
        "{curl:?}"
    );
    assert_eq!(
        (request.header_size, request.body.size),
        (curl.size_request - curl.size_upload, curl.size_upload),
        "{curl:?}"
    );
}

fn exchanges_of(recording: &Recording, role: Role) -> HashMap<Key, &Http> {
    by_key(recording.http_of(role), |http| {
        let target = &http.exchange.request.as_ref().expect("requests are seen").target;
        (client_port(http), target.printable().to_string())
    })
}

fn by_key<T: Debug>(all: impl IntoIterator<Item = T>, key: impl Fn(&T) -> Key) -> HashMap<Key, T> {
    let mut by_key = HashMap::new();
    for one in all {
        let key = key(&one);
        if let Some(other) = by_key.insert(key.clone(), one) {
            panic!("{key:?} is there twice: {other:?}");
        }
    }
    by_key
}

pub(crate) fn assert_figures(http: &Http, line: &AccessLogLine) {
    assert_eq!(http.exchange.outcome, Outcome::Ok, "{line:?}");
    let (Some(request), Some(response)) = (&http.exchange.request, &http.exchange.response) else {
        panic!("half an exchange: {http:?}");
    };
    assert_eq!(request.method.printable().to_string(), line.method);
    assert_eq!(response.status_code, line.status, "{line:?}");
    // A body that nobody reads, as at the places of these tests, is not in nginx's length; but what nginx reads of the
    // next request behind its end is taken off (1.22, ngx_http_copy_pipelined_header). curl's figures cover those.
    match (request.body.size, line.request_length) {
        (_, None) => {}
        (0, Some(length)) => assert_eq!(request.header_size, length, "{line:?}"),
        (_, Some(length)) => assert!(request.header_size >= length, "{} {line:?}", request.header_size),
    }
    let is_chunked = response.headers.first("Transfer-Encoding").is_some();
    if !is_chunked {
        assert_eq!(response.body.size, line.body_bytes_sent, "{line:?}");
        assert_eq!(response.header_size + response.body.size, line.bytes_sent, "{line:?}");
    }
}

pub(crate) fn assert_process(http: &Http, pid: u32, name: &str) {
    let process = http.connection.process.as_ref().unwrap_or_else(|| panic!("no process: {http:?}"));
    assert_eq!((process.pid, process.name.clone()), (pid, name.into()), "{http:?}");
}

/// Both ends of each connection are there, and saw the same handshake and the same bytes.
pub(crate) fn assert_ends_agree(recording: &Recording) {
    let sequences = |end: &Connection| {
        let handshake = end.handshake.expect("it was seen");
        (handshake.syn_seq.expect("it was seen"), handshake.syn_ack_seq.expect("it was seen"))
    };
    // Ports come again; initial sequence numbers of the same port do not.
    let servers: HashMap<(u16, (u32, u32)), &Connection> = recording
        .connections_of(Role::Server)
        .into_iter()
        .map(|server| {
            ((server.connection.network.expect("it is known").peer.port, sequences(server)), server)
        })
        .collect();
    let clients = recording.connections_of(Role::Client);
    assert_eq!(clients.len(), recording.connections_of(Role::Server).len());
    for client in clients {
        let key = (client.connection.network.expect("it is known").local.port, sequences(client));
        let server = servers.get(&key).unwrap_or_else(|| panic!("no server has the handshake of {client:?}"));
        let (sent, received) = (client.bytes.sent, client.bytes.received);
        assert_eq!((sent, received), (server.bytes.received, server.bytes.sent), "{client:?} {server:?}");
        assert!(client.seen_from_start && server.seen_from_start, "{client:?} {server:?}");
        assert_handshake(recording, client.connection.id, server.connection.id);
    }
}

/// SYN, SYN+ACK and ACK are recorded at both ends, and each acknowledges what it should.
fn assert_handshake(recording: &Recording, client: ConnectionId, server: ConnectionId) {
    for id in [client, server] {
        let segments = recording.segments(id);
        let [syn, syn_ack, ack, ..] = segments.as_slice() else { panic!("no handshake: {segments:?}") };
        assert_eq!(syn_ack.ack, Some(syn.seq.wrapping_add(1)), "{id}");
        assert_eq!((ack.seq, ack.ack), (syn.seq.wrapping_add(1), Some(syn_ack.seq.wrapping_add(1))), "{id}");
    }
}
