//! A recording against what a server logged and curl reported.

use std::collections::HashMap;

use tcp_trace_model::{
    event::Role,
    record::{Connection, ConnectionId, Http, Outcome},
};

use crate::{AccessLogLine, Curl, Recording};

/// What distinguishes requests: the client's port and the target.
type Key = (u16, String);

/// Every request that curl made and nginx logged is in the recording exactly once per end, with the figures
/// of both, and nothing else is.
pub fn assert_same(recording: &Recording, log: &[AccessLogLine], curls: &[Curl]) {
    assert_same_at("nginx", recording, log, curls);
}

/// The same for a server whose processes have this name.
pub fn assert_same_at(server_name: &str, recording: &Recording, log: &[AccessLogLine], curls: &[Curl]) {
    assert_eq!(recording.end.lost, 0);
    let server = by_key(recording.http_of(Role::Server), |http| http.connection.ends().peer.port);
    let client = by_key(recording.http_of(Role::Client), |http| http.connection.ends().local.port);
    assert_eq!(server.len(), log.len(), "exchanges at the server's end");
    assert_eq!(client.len(), log.len(), "exchanges at the client's end");
    let pids: HashMap<u16, u32> = curls.iter().map(|curl| (curl.local_port, curl.pid)).collect();
    for line in log {
        let key = (line.remote_port, line.uri.clone());
        for (role, exchanges) in [("server", &server), ("client", &client)] {
            let http =
                exchanges.get(&key).unwrap_or_else(|| panic!("{key:?} is missing at the {role}'s end"));
            assert_figures(http, line);
        }
        assert_process(server[&key], line.pid, server_name);
        assert_process(client[&key], pids[&line.remote_port], "curl");
    }
    for curl in curls {
        assert_has(&client, curl);
    }
    assert_ends_agree(recording);
}

fn assert_has(client: &HashMap<Key, &Http>, curl: &Curl) {
    let of_curl = client.values().find(|http| {
        let response = http.exchange.response.as_ref().expect("it was answered");
        http.connection.ends().local.port == curl.local_port
            && http.connection.process.as_ref().is_some_and(|process| process.pid == curl.pid)
            && response.status_code == curl.http_code
            && response.header_size == curl.size_header
            && http.exchange.request.as_ref().is_some_and(|request| {
                (request.header_size, request.body.size)
                    == (curl.size_request - curl.size_upload, curl.size_upload)
            })
            && response.body.size == curl.size_download
    });
    assert!(of_curl.is_some(), "no exchange has the figures of {curl:?}");
}

fn by_key(exchanges: Vec<&Http>, port: impl Fn(&Http) -> u16) -> HashMap<Key, &Http> {
    let mut by_key = HashMap::new();
    for http in exchanges {
        let target = &http.exchange.request.as_ref().expect("requests are seen").target;
        let key = (port(http), target.printable().to_string());
        assert!(by_key.insert(key.clone(), http).is_none(), "{key:?} is there twice");
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
    let servers: HashMap<u16, &Connection> = recording
        .connections_of(Role::Server)
        .into_iter()
        .map(|server| (server.connection.network.expect("it is known").peer.port, server))
        .collect();
    let clients = recording.connections_of(Role::Client);
    assert_eq!(clients.len(), servers.len());
    for client in clients {
        let server = servers[&client.connection.network.expect("it is known").local.port];
        let sequences = |end: &Connection| {
            let handshake = end.handshake.expect("it was seen");
            (handshake.syn_seq.expect("it was seen"), handshake.syn_ack_seq.expect("it was seen"))
        };
        assert_eq!(sequences(client), sequences(server));
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
