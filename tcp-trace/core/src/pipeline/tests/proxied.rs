//! HTTP behind what proxies put before it.

use super::*;

const PREFIX: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 80\r\n";
const CONNECT: &[u8] = b"CONNECT inner.example:80 HTTP/1.1\r\nHost: inner.example:80\r\n\r\n";
const CONNECTED: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";
const INNER: &[u8] = b"GET /inner HTTP/1.1\r\nHost: inner.example\r\n\r\n";

/// Plays this to the server's end: each turn is the client's or the server's.
fn play(turns: &[(Direction, &[u8])]) -> Host {
    let mut host = Host::new(Filter::default());
    host.handshake();
    let (mut sent, mut received) = (SERVER_ISN + 1, CLIENT_ISN + 1);
    for (direction, bytes) in turns {
        let length = u32::try_from(bytes.len()).unwrap();
        let (numbers, next) = match direction {
            Direction::In => ((received, sent), &mut received),
            Direction::Out => ((sent, received), &mut sent),
        };
        *next += length;
        let server = endpoints(8080, 41352);
        host.segment(SERVER, server, *direction, Flags::ACK, numbers, bytes, State::Established);
    }
    host.finish();
    host
}

fn targets(host: &Host) -> Vec<String> {
    let exchanges = host.out.iter().filter_map(|record| match record {
        Record::Http(http) => http.exchange.request.as_ref(),
        _ => None,
    });
    exchanges.map(|request| request.target.printable().to_string()).collect()
}

#[test]
fn a_proxy_header_names_the_client_and_the_http_behind_it_is_read() {
    let host = play(&[(Direction::In, PREFIX), (Direction::In, REQUEST), (Direction::Out, RESPONSE)]);
    assert_eq!(targets(&host), ["/a"]);
    let summary = host.summary("c4102");
    let header = summary.proxy_protocol.unwrap();
    assert_eq!(header.source.unwrap().to_string(), "192.0.2.1:56324");
    assert_eq!(header.destination.unwrap().to_string(), "192.0.2.2:80");
    assert_eq!(summary.protocol.as_deref(), Some("http"));
    assert_eq!(summary.http.as_ref().unwrap().requests, 1);
}

#[test]
fn http_in_a_tunnel_is_read_and_does_not_name_the_server() {
    let host = play(&[
        (Direction::In, CONNECT),
        (Direction::Out, CONNECTED),
        (Direction::In, INNER),
        (Direction::Out, RESPONSE),
    ]);
    assert_eq!(targets(&host), ["inner.example:80", "/inner"]);
    assert_eq!(host.summary("c4102").server, None);
}
