//! Lookups through the pipeline: which come out, and which connection follows them.

use tcp_trace_model::{
    event::Datagram,
    record::{Connection, Dns, DnsOutcome, Server, ServerSource},
};

use super::*;

const RESOLVER: u64 = 5000;
/// `A example.com`, transaction 1.
const QUESTION: &[u8] = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x07example\x03com\0\0\x01\0\x01";
/// 127.0.0.1.
const ANSWER: &[u8] = b"\0\x01\x81\x80\0\x01\0\x01\0\0\0\0\x07example\x03com\0\0\x01\0\x01\
    \xc0\x0c\0\x01\0\x01\0\0\x01\x2c\0\x04\x7f\0\0\x01";

impl Host {
    fn datagram(&mut self, cookie: u64, direction: Direction, payload: &[u8]) {
        let ends = endpoints(40000, 53);
        let length = u32::try_from(payload.len()).unwrap();
        let datagram = Datagram { direction, endpoints: ends, netns: NETNS, length, payload };
        self.event(cookie, EventKind::Datagram(datagram));
    }

    /// A lookup through a socket of its own; `None` is a process that nobody reports.
    fn look_up(&mut self, number: u64, owner: Option<Owner>) {
        self.datagram(RESOLVER + number, Direction::Out, QUESTION);
        if let Some(owner) = owner {
            self.event(RESOLVER + number, EventKind::Owner(owner));
        }
        self.datagram(RESOLVER + number, Direction::In, ANSWER);
    }

    /// A connect of curl's that is refused, to 127.0.0.1.
    fn connect(&mut self, cookie: u64, pid: u32, port: u16) {
        let ends = endpoints(41352, port);
        self.state(cookie, endpoints(0, port), State::Close, State::SynSent, Some(owner(pid, "curl")), 0);
        self.segment(cookie, ends, Direction::Out, Flags::SYN, (CLIENT_ISN, 0), b"", State::SynSent);
        self.state(cookie, ends, State::SynSent, State::Close, None, 111);
    }

    fn lookups(&self) -> Vec<&Dns> {
        let all = self.out.iter().filter_map(|record| match record {
            Record::Dns(dns) => Some(&**dns),
            _ => None,
        });
        all.collect()
    }

    fn summaries(&self) -> Vec<&Connection> {
        let all = self.out.iter().filter_map(|record| match record {
            Record::Connection(summary) => Some(&**summary),
            _ => None,
        });
        all.collect()
    }
}

fn port(port: u16) -> Filter {
    Filter { port: vec![port], ..Filter::default() }
}

#[test]
fn a_connection_names_the_lookup_that_it_follows() {
    let mut host = Host::new(Filter::default());
    host.look_up(0, Some(owner(7, "curl")));
    host.connect(CLIENT, 7, 8080);
    host.connect(CLIENT + 1, 8, 8080);
    host.finish();
    let [dns] = host.lookups()[..] else { panic!("{:?}", host.out) };
    assert_eq!((dns.outcome, dns.duration_us), (DnsOutcome::Ok, Some(2)));
    let [follows, other] = host.summaries()[..] else { panic!("{:?}", host.out) };
    let resolved = follows.dns.as_ref().unwrap();
    assert_eq!((resolved.lookup, resolved.name.as_str(), resolved.age_us), (dns.lookup, "example.com", 1));
    let server = Server { address: "example.com".to_owned(), source: ServerSource::Dns };
    assert_eq!(follows.server.as_ref(), Some(&server));
    assert_eq!((&other.dns, &other.server), (&None, &None), "another process");
}

#[test]
fn a_lookup_that_is_not_asked_for_comes_with_a_connection_that_is() {
    for (connects, expected) in [
        (&[8080][..], true),
        (&[80], false),
        // Known once the port is chosen.
        (&[80, 8080, 8080], true),
    ] {
        let mut host = Host::new(port(8080));
        host.look_up(0, Some(owner(7, "curl")));
        host.look_up(1, Some(owner(8, "curl")));
        host.tick(1);
        assert!(host.out.is_empty());
        for (number, port) in (0..).zip(connects) {
            host.connect(CLIENT + number, 7, *port);
        }
        host.finish();
        assert_eq!(host.lookups().len(), usize::from(expected), "{connects:?}: {:?}", host.out);
        assert!(!expected || matches!(host.out[0], Record::Dns(_)), "{connects:?}: {:?}", host.out);
    }
    let mut host = Host::new(port(41352));
    host.look_up(0, Some(owner(7, "curl")));
    host.connect(CLIENT, 7, 8080);
    assert!(matches!(host.out[0], Record::Dns(_)), "the local port is chosen late: {:?}", host.out);
}

#[test]
fn filters_judge_a_lookup_by_its_own_process_and_ends() {
    let comm = |name: &str| Filter { comm: vec![name.to_owned()], ..Filter::default() };
    let followed = Filter { followed: true, ..Filter::default() };
    let addr = |net: &str| Filter { addr: vec![net.parse().unwrap()], ..Filter::default() };
    for (filter, expected) in [
        (comm("curl"), 1),
        (comm("nginx"), 0),
        (followed, 0),
        (port(53), 2),
        (port(54), 0),
        (addr("127.0.0.1"), 2),
        (addr("192.0.2.1"), 0),
    ] {
        let mut host = Host::new(filter.clone());
        host.look_up(0, Some(owner(7, "curl")));
        host.look_up(1, None);
        host.tick(1);
        assert_eq!(host.lookups().len(), expected, "{filter:?}");
    }
}

#[test]
fn without_a_lookup_the_host_of_the_first_request_names_the_server() {
    for (request, expected) in [
        (&b"GET /a HTTP/1.1\r\nHost: Example.com:8080\r\n\r\n"[..], Some("Example.com")),
        (b"GET /a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", None),
        // To a proxy.
        (b"GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n", None),
    ] {
        let mut host = Host::new(Filter::default());
        host.handshake();
        let next = (CLIENT_ISN + 1, SERVER_ISN + 1);
        let ends = endpoints(41352, 8080);
        host.segment(CLIENT, ends, Direction::Out, Flags::ACK, next, request, State::Established);
        host.segment(CLIENT, ends, Direction::In, Flags::ACK, (next.1, next.0), RESPONSE, State::Established);
        host.finish();
        let client =
            host.summaries().into_iter().find(|summary| summary.connection.id.cookie == CLIENT).unwrap();
        let server = client.server.as_ref().map(|server| (server.address.as_str(), server.source));
        assert_eq!(server, expected.map(|name| (name, ServerSource::Host)));
    }
}

/// A ClientHello that names `www.example.com`, in one record.
fn client_hello() -> Vec<u8> {
    let name = b"www.example.com";
    let length = |bytes: usize| u16::try_from(bytes).unwrap().to_be_bytes();
    let names = [&[0][..], &length(name.len()), name].concat();
    let value = [&length(names.len())[..], &names].concat();
    let extensions = [&[0, 0][..], &length(value.len()), &value].concat();
    let fixed = [3; 34];
    // No session id, one cipher suite, no compression.
    let rest = [&[0, 0, 2, 0x13, 1, 1, 0][..], &length(extensions.len()), &extensions].concat();
    let body = [&fixed[..], &rest].concat();
    let message = [&[1, 0][..], &length(body.len()), &body].concat();
    [&[22, 3, 1][..], &length(message.len()), &message].concat()
}

#[test]
fn a_client_hello_names_the_server_however_it_is_cut() {
    let hello = client_hello();
    let end = hello.len();
    for (cuts, expected) in [
        (&[(0, end)][..], true),
        (&[(0, 3), (3, 50), (50, end)], true),
        // The second segment is overtaken.
        (&[(0, 3), (50, end), (3, 50)], true),
        (&[(0, 3), (3, 50)], false),
    ] {
        let mut host = Host::new(Filter::default());
        host.handshake();
        let ends = endpoints(41352, 8080);
        for (from, to) in cuts.iter().copied() {
            let at = CLIENT_ISN + 1 + u32::try_from(from).unwrap();
            let bytes = &hello[from..to];
            let numbers = (at, SERVER_ISN + 1);
            host.segment(CLIENT, ends, Direction::Out, Flags::ACK, numbers, bytes, State::Established);
        }
        host.finish();
        let client =
            host.summaries().into_iter().find(|summary| summary.connection.id.cookie == CLIENT).unwrap();
        let server = client.server.as_ref().map(|server| (server.address.as_str(), server.source));
        assert_eq!(server, expected.then_some(("www.example.com", ServerSource::Sni)));
    }
}

#[test]
fn a_lookup_by_tcp_ends_with_its_connection() {
    let framed = |message: &[u8]| [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat();
    for is_answered in [true, false] {
        let mut host = Host::new(port(8080));
        let ends = endpoints(41352, 53);
        let syn_ack = Flags::SYN.with(Flags::ACK);
        let next = (CLIENT_ISN + 1, SERVER_ISN + 1);
        let (established, sent) = (State::Established, State::SynSent);
        host.state(CLIENT, ends, State::Close, sent, Some(owner(7, "curl")), 0);
        host.segment(CLIENT, ends, Direction::Out, Flags::SYN, (CLIENT_ISN, 0), b"", sent);
        host.segment(CLIENT, ends, Direction::In, syn_ack, (SERVER_ISN, next.0), b"", sent);
        host.segment(CLIENT, ends, Direction::Out, Flags::ACK, next, &framed(QUESTION), established);
        if is_answered {
            let bytes = framed(ANSWER);
            host.segment(CLIENT, ends, Direction::In, Flags::ACK, (next.1, next.0), &bytes, established);
        }
        host.state(CLIENT, ends, established, State::Close, None, 0);
        host.tick(1);
        // Neither the lookup nor its connection is asked for, but what follows is.
        assert!(host.out.is_empty(), "{:?}", host.out);
        host.connect(CLIENT + 1, 7, 8080);
        assert_eq!(host.lookups().len(), usize::from(is_answered), "{:?}", host.out);
        for dns in host.lookups() {
            assert_eq!(dns.connection.map(|id| id.cookie), Some(CLIENT));
        }
    }
}
