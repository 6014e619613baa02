//! A remote host that sends what the kernel refuses, around a real conversation: what is recorded is what the application
//! read and wrote.
//!
//! The segments are random, from a seed: `TCP_TRACE_SEED` chooses another one. Where the recording is wrong, the test looks for fewer
//! segments with which it still is.

mod noise;

use std::{
    collections::HashMap,
    env,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    ops::Range,
    thread,
    time::Duration,
};

use noise::{NOISES, Noise};
use tcp_trace_model::{
    event::Flags,
    record::{By, Connection, How, Record},
    refusal::Refusal,
};
use tcp_trace_tests::{
    FIN_ACK, Namespace, PATIENCE, Peer, SYN_ACK, Segment, Tracer, Wire, WireAddresses, accept,
    stay_on_one_cpu, wait_for, with_patience,
};

const PORT: u16 = 8080;
/// Segments that the remote host sends in the long test, but for acknowledgments.
const SEGMENTS: usize = 10_000;
/// Bytes that are under way at most.
const FLIGHT_MAX: usize = 8_000;
/// How often a failing script is played again to find a shorter one.
const REPLAYS_MAX: usize = 24;
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

/// A segment that does not belong to the conversation: before which of its pieces it comes, and a number to vary it.
#[derive(Clone, Copy, Debug)]
struct Step {
    before: usize,
    noise: Noise,
    number: u32,
}

/// Numbers from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// Where the conversations take place.
struct Host {
    wire: Wire,
    tracer: Tracer,
    listener: TcpListener,
    server: SocketAddr,
    /// In it everything happens.
    _namespace: Namespace,
}

impl Host {
    fn new() -> Self {
        let (namespace, addresses) = (Namespace::new(), WireAddresses::ipv4());
        let wire = Wire::new(&namespace, addresses);
        let server = SocketAddr::new(addresses.local, PORT);
        let listener = namespace.run(|| TcpListener::bind(server)).expect("the address is this test's own");
        let tracer = Tracer::start(&["--addr", &addresses.local.to_string(), "--port", &PORT.to_string()]);
        stay_on_one_cpu();
        Self { wire, tracer, listener, server, _namespace: namespace }
    }

    /// A connection from this port of the remote host.
    fn connect(&self, port: u16) -> (TcpStream, Peer<'_>) {
        let mut peer = self.wire.peer(self.server, port);
        peer.send(Flags::SYN);
        peer.expect(SYN_ACK);
        peer.send(Flags::ACK);
        (accept(&self.listener), peer)
    }

    /// The summary of the connection from this port.
    fn summary(&self, port: u16) -> Box<Connection> {
        wait_for("the connection's summary", || {
            self.tracer.records().iter().find_map(|record| match record {
                Record::Connection(summary) if is_from(summary.connection.network, port) => {
                    Some(summary.clone())
                }
                _ => None,
            })
        })
    }

    /// Targets of the requests on it.
    fn targets(&self, port: u16) -> Vec<String> {
        let records = self.tracer.records();
        let all = records.iter().filter_map(|record| match record {
            Record::Http(http) if is_from(http.connection.network, port) => http.exchange.request.as_ref(),
            _ => None,
        });
        all.map(|request| request.target.printable().to_string()).collect()
    }
}

fn is_from(network: Option<tcp_trace_model::record::Network>, port: u16) -> bool {
    network.is_some_and(|network| network.peer.port == port)
}

fn request(target: &str, body: usize) -> Vec<u8> {
    let head = format!("POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: {body}\r\n\r\n");
    let mut bytes = head.into_bytes();
    bytes.resize(bytes.len() + body, b'b');
    bytes
}

/// What a refused segment carries: a request that nobody must read, longer than what the kernel verifies before the hook.
fn false_request(length: usize) -> Vec<u8> {
    let mut bytes = request("/false", 10);
    bytes.resize(length.max(100), b'f');
    bytes
}

/// Answers requests until the client's FIN, and gives what it read.
fn serve(mut socket: TcpStream) -> Vec<u8> {
    let (mut read, mut answered) = (Vec::new(), 0);
    let mut buffer = [0; 4096];
    loop {
        let length = socket.read(&mut buffer).expect("the connection lives");
        if length == 0 {
            return read;
        }
        read.extend_from_slice(&buffer[..length]);
        while let Some(length) = whole_request(&read[answered..]) {
            answered += length;
            socket.write_all(RESPONSE).expect("the connection lives");
        }
    }
}

/// The length of the request that these bytes begin with, if all of it is there.
fn whole_request(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).expect("heads are text");
    let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let whole = head + length.expect("it has a body").parse::<usize>().expect("its length is a number");
    (bytes.len() >= whole).then_some(whole)
}

/// The remote host's side of a conversation.
struct Conversation<'a, 'w> {
    peer: &'a mut Peer<'w>,
    /// The number of its first byte.
    first: u32,
    bytes: &'a [u8],
    /// How much of it was sent in order.
    sent: usize,
}

impl Conversation<'_, '_> {
    /// A segment at a place of the conversation.
    fn at(&self, flags: Flags, place: usize, payload: &[u8]) -> Segment {
        Segment { seq: self.number(place), ..self.peer.segment(flags, payload) }
    }

    /// The number of a byte.
    fn number(&self, place: usize) -> u32 {
        self.first.wrapping_add(u32::try_from(place).expect("a conversation is short"))
    }

    fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range.start.min(self.bytes.len())..range.end.min(self.bytes.len())]
    }

    fn send(&self, segment: &Segment) {
        self.peer.wire().send(segment);
    }

    /// How much the kernel has acknowledged.
    fn acknowledged(&mut self, patience: Duration) -> usize {
        self.peer.receive_for(patience);
        let all = self.peer.received.iter().rev().take(50).filter(|segment| segment.is(Flags::ACK));
        let far = all.map(|segment| segment.ack.wrapping_sub(self.first).cast_signed()).max();
        usize::try_from(far.unwrap_or(0)).unwrap_or(0)
    }

    /// Waits until at most so many bytes are not acknowledged, and sends again what was not.
    fn wait_until_unacknowledged(&mut self, most: usize) {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let acknowledged = self.acknowledged(Duration::ZERO);
            if self.sent.saturating_sub(acknowledged) <= most {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "nothing is acknowledged behind {acknowledged}");
            if self.acknowledged(Duration::from_millis(50)) == acknowledged {
                let again = self.bytes(acknowledged..self.sent.min(acknowledged + 1_000)).to_vec();
                self.send(&self.at(Flags::ACK, acknowledged, &again));
            }
        }
    }

    fn piece(&mut self, end: usize) {
        self.wait_until_unacknowledged(FLIGHT_MAX);
        let payload = self.bytes(self.sent..end).to_vec();
        self.send(&self.at(Flags::ACK.with(Flags::PSH), self.sent, &payload));
        self.sent = end;
    }

    fn noise(&mut self, noise: Noise, number: u32) {
        self.peer.receive_for(Duration::ZERO);
        let (next, few) = (self.sent, number as usize % 1_000);
        let lie = false_request(few);
        let back = few.min(next);
        let ack = self.peer.next_ack;
        let changed = |segment: Segment, ack: u32| Segment { ack, ..segment };
        let own_syn = |flags, payload: &[u8]| Segment {
            seq: self.first.wrapping_sub(1),
            ..self.at(flags, next, payload)
        };
        let segment = match noise {
            Noise::WithoutAck => self.at(Flags::PSH, next, &lie),
            Noise::AckOfUnsent => {
                changed(self.at(Flags::ACK, next, &lie), ack.wrapping_add(100_000 + number % 50_000))
            }
            Noise::OldAck => {
                // With the same window as before the kernel would take it (header prediction in `tcp_rcv_established()`).
                let old = ack.wrapping_sub(200_000 + number % 50_000);
                Segment { window: 30_000, ..changed(self.at(Flags::ACK, next, &lie), old) }
            }
            Noise::BadChecksum => {
                self.peer.wire().send_spoiled(&self.at(Flags::ACK, next, &lie));
                return;
            }
            Noise::BeyondTheWindow => self.at(Flags::ACK, next + 7_000_000 + few, &lie),
            Noise::OldData => self.at(Flags::ACK, next - back, &lie[..back.min(lie.len())]),
            Noise::OldAndNew => {
                // All before has to be there: else the lie would be what comes first.
                self.wait_until_unacknowledged(0);
                let mut payload = vec![b'o'; back];
                payload.extend_from_slice(self.bytes(next..next + 50));
                self.at(Flags::ACK, next - back, &payload)
            }
            Noise::Syn => changed(self.at(Flags::SYN, next + few, b""), 0),
            Noise::SynAck => self.at(SYN_ACK, next + few, b""),
            Noise::OwnSynFin => own_syn(Flags::SYN.with(Flags::FIN), b""),
            Noise::OwnSynRst => own_syn(Flags::SYN.with(Flags::RST), b""),
            Noise::OwnSynData => own_syn(Flags::SYN, &lie),
            Noise::OwnSynAck => own_syn(SYN_ACK, b""),
            Noise::Rst => self.at(Flags::RST, next + 200 + few, b""),
            Noise::OldRst => Segment {
                seq: self.number(next).wrapping_sub(1 + number % 70_000),
                ..self.at(Flags::RST, 0, b"")
            },
            Noise::FinWithBadAck => {
                changed(self.at(FIN_ACK, next, b""), ack.wrapping_add(100_000 + number % 50_000))
            }
            Noise::OldFin => Segment {
                seq: self.number(next).wrapping_sub(1 + number % 70_000),
                ..self.at(FIN_ACK, 0, b"")
            },
            Noise::ZeroWindow => {
                let segment =
                    changed(self.at(Flags::ACK, next, b""), ack.wrapping_add(100_000 + number % 50_000));
                Segment { window: 0, ..segment }
            }
            Noise::Early => {
                let payload = self.bytes(next + 50..next + 100);
                self.at(Flags::ACK, next + 50, payload)
            }
        };
        self.send(&segment);
    }
}

/// Plays a conversation of these requests, with the noise, and says what is recorded wrong.
fn play(
    host: &Host,
    port: u16,
    bodies: &[usize],
    pieces: &[usize],
    script: &[Step],
) -> Result<Connection, String> {
    let (socket, mut peer) = host.connect(port);
    let server = thread::spawn(move || serve(with_patience(socket)));
    let requests: Vec<_> =
        bodies.iter().enumerate().map(|(n, body)| request(&format!("/{n}"), *body)).collect();
    let bytes = requests.concat();
    let first = peer.next_seq;
    let mut conversation = Conversation { peer: &mut peer, first, bytes: &bytes, sent: 0 };
    let mut steps = script.iter().peekable();
    for (number, end) in pieces.iter().enumerate() {
        while let Some(step) = steps.next_if(|step| step.before <= number) {
            conversation.noise(step.noise, step.number);
        }
        conversation.piece(*end);
    }
    conversation.wait_until_unacknowledged(0);
    let written = bodies.len() * RESPONSE.len();
    peer.next_seq = first.wrapping_add(u32::try_from(bytes.len()).expect("a conversation is short"));
    wait_for("the last response", || {
        peer.receive_for(Duration::from_millis(1));
        // The next response waits for that (Nagle's algorithm).
        peer.send(Flags::ACK);
        let answered = peer.next_ack.wrapping_sub(peer.received[0].seq.wrapping_add(1));
        (answered as usize >= written).then_some(())
    });
    peer.send(FIN_ACK);
    peer.expect(FIN_ACK);
    peer.send(Flags::ACK);
    let read = server.join().expect("the server lives");
    assert_eq!(read.len(), bytes.len(), "the scene: what the application read");
    assert!(read == bytes, "the scene: what the application read is the conversation");
    let summary = host.summary(port);
    let expected: Vec<_> = (0..bodies.len()).map(|n| format!("/{n}")).collect();
    let targets = host.targets(port);
    let close = (summary.close.by, summary.close.how);
    if targets != expected {
        return Err(format!("targets {targets:?}"));
    }
    if (summary.bytes.sent, summary.bytes.received) != (written as u64, read.len() as u64) {
        return Err(format!("{:?}, but {written} written and {} read", summary.bytes, read.len()));
    }
    if close != (By::Peer, How::Fin) || summary.zero_window.is_some() {
        return Err(format!("{close:?}, {:?}", summary.zero_window));
    }
    Ok(*summary)
}

/// The ends of pieces in which so many bytes are sent.
fn pieces(total: usize, dice: &mut Dice) -> Vec<usize> {
    let (mut ends, mut end) = (Vec::new(), 0);
    while end < total {
        end = (end + 100 + dice.below(900)).min(total);
        ends.push(end);
    }
    ends
}

#[test]
fn random_segments_around_a_conversation_change_nothing_of_it() {
    let seed = env::var("TCP_TRACE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(5961);
    let mut dice = Dice(seed);
    let mut bodies: Vec<_> = (0..60).map(|_| dice.below(3_000)).collect();
    // The kernel side leaves out most of a long one.
    bodies.insert(30, 150_000);
    let total = bodies.iter().enumerate().map(|(n, body)| request(&format!("/{n}"), *body).len()).sum();
    let pieces = pieces(total, &mut dice);
    let mut script: Vec<_> = (pieces.len()..SEGMENTS)
        .map(|_| Step {
            before: dice.below(pieces.len()),
            noise: NOISES[dice.below(NOISES.len())],
            number: dice.next() as u32,
        })
        .collect();
    script.sort_by_key(|step| step.before);
    let host = Host::new();
    let mut ports = 20_000..;
    let mut port = || ports.next().expect("there are ports");
    let mut played = play(&host, port(), &bodies, &pieces, &script);
    if let Ok(summary) = &played {
        let refused: u64 = summary.refused.values().sum();
        assert!(refused > SEGMENTS as u64 / 2, "{:?}", summary.refused);
        assert_eq!(host.tracer.stop().end.lost, 0, "seed {seed}");
        return;
    }
    // Fewer segments with which it is wrong, too.
    let mut part = script.len() / 2;
    let mut replays = 0;
    while part > 0 && replays < REPLAYS_MAX {
        let mut start = 0;
        let before = script.len();
        while start < script.len() && replays < REPLAYS_MAX {
            let mut fewer = script.clone();
            fewer.drain(start..(start + part).min(script.len()));
            replays += 1;
            let again = play(&host, port(), &bodies, &pieces, &fewer);
            if again.is_err() {
                (script, played) = (fewer, again);
            } else {
                start += part;
            }
        }
        if script.len() == before {
            part /= 2;
        }
    }
    panic!(
        "seed {seed}, {} segments: {:?}: {:?}",
        script.len(),
        &script[..script.len().min(20)],
        played.err()
    );
}

#[test]
fn a_request_that_the_kernel_refuses_is_not_the_one_that_the_server_reads() {
    let host = Host::new();
    let mut reasons = HashMap::new();
    for (port, noise) in (20_000..).zip(NOISES) {
        let script: Vec<_> = (0..2).map(|before| Step { before, noise, number: 300 }).collect();
        let summary = play(
            &host,
            port,
            &[400, 0],
            &[300, 500, request("/0", 400).len() + request("/1", 0).len()],
            &script,
        );
        let summary = summary.unwrap_or_else(|wrong| panic!("{noise:?}: {wrong}"));
        reasons.insert(noise, summary.refused.into_keys().collect::<Vec<_>>());
    }
    for (noise, expected) in [
        (Noise::WithoutAck, Some(Refusal::Flags)),
        (Noise::AckOfUnsent, Some(Refusal::AckUnsentData)),
        (Noise::OldAck, Some(Refusal::TooOldAck)),
        (Noise::BadChecksum, Some(Refusal::Checksum)),
        (Noise::BeyondTheWindow, Some(Refusal::InvalidSequence)),
        (Noise::OldData, None),
        (Noise::OldAndNew, None),
        (Noise::Syn, Some(Refusal::InvalidSyn)),
        (Noise::SynAck, Some(Refusal::InvalidSyn)),
        (Noise::OwnSynFin, Some(Refusal::InvalidSyn)),
        (Noise::OwnSynRst, Some(Refusal::Reset)),
        (Noise::OwnSynData, None),
        (Noise::OwnSynAck, Some(Refusal::InvalidSyn)),
        (Noise::Rst, Some(Refusal::Reset)),
        (Noise::OldRst, Some(Refusal::Reset)),
        (Noise::FinWithBadAck, Some(Refusal::AckUnsentData)),
        (Noise::OldFin, Some(Refusal::OldSequence)),
        (Noise::ZeroWindow, Some(Refusal::AckUnsentData)),
        (Noise::Early, None),
    ] {
        assert_eq!(reasons[&noise], expected.into_iter().collect::<Vec<_>>(), "{noise:?}");
    }
    let recording = host.tracer.stop();
    assert_eq!(recording.end.lost, 0);
    let lines = recording.all_segments().filter(|segment| segment.refused.is_some());
    assert!(lines.count() >= 20, "refused segments have lines of their own");
}

#[test]
fn an_rst_with_few_options_is_recorded_where_segments_have_timestamps() {
    let host = Host::new();
    let port = 20_000;
    let mut peer = host.wire.peer(host.server, port);
    // Two of no operation, and timestamps.
    let timestamps = [1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 0];
    host.wire.send_with_options(&peer.segment(Flags::SYN, b""), &timestamps);
    peer.next_seq = peer.next_seq.wrapping_add(1);
    peer.expect(SYN_ACK);
    peer.send(Flags::ACK);
    let _socket = accept(&host.listener);
    host.wire.send_with_options(&peer.segment(Flags::RST, b""), &[1; 4]);
    let close = host.summary(port).close;
    assert_eq!((close.by, close.how), (By::Peer, How::Rst));
    let recording = host.tracer.stop();
    let resets = recording.all_segments().filter(|segment| segment.flags.0.has(Flags::RST));
    assert_eq!(resets.filter(|segment| segment.refused.is_none()).count(), 1);
    assert_eq!(recording.end.lost, 0);
}
