//! Connections with TLS and the calls of its library, as the kernel reports them.

use tcp_trace_model::event::{Ciphertext, Passage, Plaintext, TlsLibrary, TlsObject};

use super::super::*;
use crate::tls::testing::{Hello, message, record, server_hello};

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const OPEN: State = State::Established;
const AES_128: u16 = 0x1301;
const SUPPORTED_VERSIONS: u16 = 43;
const PID: u32 = 500;
/// What TLS 1.3 adds to a record's content.
const ADDED: usize = 17;

/// How an end of a connection comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It closes first.
    Local,
    /// The peer does.
    Peer,
    /// The peer resets it.
    Reset,
}

/// An end of a connection with TLS.
#[derive(Debug)]
pub(super) struct Tls {
    pub(super) cookie: u64,
    pub(super) object: TlsObject,
    pub(super) is_late: bool,
    /// Bytes of plaintext, by [`Direction::index`].
    pub(super) offsets: [u64; 2],
    ends: Endpoints,
    is_client: bool,
    /// The next number of each direction.
    next: [u32; 2],
    /// What its bytes that look random are made of.
    noise: u64,
}

impl Tls {
    /// Bytes that look random.
    fn noise(&mut self, length: usize) -> Vec<u8> {
        let mut byte = || {
            self.noise =
                self.noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.noise >> 56) as u8
        };
        (0..length).map(|_| byte()).collect()
    }

    /// A record of this plaintext.
    pub(super) fn seal(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let sealed = self.noise(plaintext.len() + ADDED);
        record(23, &sealed)
    }

    pub(super) fn client_hello(&mut self) -> Vec<u8> {
        let mut hello = Hello::default().name("h.example").sent();
        let random = self.noise(32);
        hello[11..43].copy_from_slice(&random);
        hello
    }
}

impl Host {
    /// A connection whose TLS has been set up.
    pub(super) fn tls(&mut self, number: u16, is_client: bool) -> Tls {
        self.tls_of(number, is_client, PID)
    }

    /// The same of a process.
    pub(super) fn tls_of(&mut self, number: u16, is_client: bool, pid: u32) -> Tls {
        let mut tls = self.connected(number, is_client, pid);
        let (client, server) =
            if is_client { (Direction::Out, Direction::In) } else { (Direction::In, Direction::Out) };
        let hello = tls.client_hello();
        self.wire(&mut tls, client, &hello);
        let random: [u8; 32] = tls.noise(32).try_into().unwrap();
        let answer = server_hello(&random, AES_128, &[(SUPPORTED_VERSIONS, &[3, 4])]);
        self.wire(&mut tls, server, &record(22, &message(2, &answer)));
        for direction in [server, client] {
            // Finished.
            let sealed = tls.seal(&[0; 36]);
            self.wire(&mut tls, direction, &sealed);
        }
        tls
    }

    /// A connection on which nothing has passed.
    pub(super) fn connected(&mut self, number: u16, is_client: bool, pid: u32) -> Tls {
        let cookie = number.into();
        let ends = if is_client { endpoints(10_000 + number, 443) } else { endpoints(443, 10_000 + number) };
        let (out, inward) = (Direction::Out, Direction::In);
        let syn_ack = Flags::SYN.with(Flags::ACK);
        let user = owner(pid, "worker");
        if is_client {
            let unbound = endpoints(0, 443);
            self.state(cookie, unbound, State::Close, State::SynSent, Some(user), 0);
            self.segment(cookie, ends, out, Flags::SYN, (999, 0), b"", State::SynSent);
            self.segment(cookie, ends, inward, syn_ack, (1_999, 1_000), b"", State::SynSent);
            self.state(cookie, ends, State::SynSent, OPEN, None, 0);
        } else {
            self.segment(LISTENER, ends, inward, Flags::SYN, (1_999, 0), b"", State::Listen);
            self.segment(LISTENER, ends, out, syn_ack, (999, 2_000), b"", State::SynRecv);
            self.segment(LISTENER, ends, inward, Flags::ACK, (2_000, 1_000), b"", State::Listen);
            self.state(cookie, ends, State::Listen, State::SynRecv, None, 0);
            self.state(cookie, ends, State::SynRecv, OPEN, None, 0);
            self.event(cookie, EventKind::Owner(user));
        }
        Tls {
            cookie,
            object: TlsObject { pid, address: 0x1000 * u64::from(number), generation: 1 },
            is_late: false,
            offsets: [0; 2],
            ends,
            is_client,
            next: [1_000, 2_000],
            noise: number.into(),
        }
    }

    /// A connection that is older than the session.
    pub(super) fn existing(&mut self, number: u16, pid: u32) -> Tls {
        let tls = self.unknown(number, pid);
        let socket = ExistingSocket {
            cookie: tls.cookie,
            netns: NETNS,
            endpoints: tls.ends,
            state: OPEN,
            role: Some(Role::Client),
            owner: Some(std::sync::Arc::new(owner(pid, "worker"))),
            others: Vec::new(),
            stats: Default::default(),
            bytes: None,
            listed: None,
            mini_socket_us: None,
            is_one_of_several: false,
        };
        self.pipeline.existing(Time(self.now), &[socket]);
        self.take();
        tls
    }

    /// The same, of which nothing was said.
    pub(super) fn unknown(&mut self, number: u16, pid: u32) -> Tls {
        let (cookie, ends) = (u64::from(number), endpoints(10_000 + number, 443));
        Tls {
            cookie,
            object: TlsObject { pid, address: 0x1000 * u64::from(number), generation: 1 },
            is_late: true,
            offsets: [0; 2],
            ends,
            is_client: true,
            next: [1_000, 2_000],
            noise: number.into(),
        }
    }

    /// Bytes pass on the wire.
    pub(super) fn wire(&mut self, tls: &mut Tls, direction: Direction, bytes: &[u8]) {
        let at = direction.index();
        let numbers = (tls.next[at], tls.next[1 - at]);
        self.segment(tls.cookie, tls.ends, direction, Flags::ACK, numbers, bytes, OPEN);
        tls.next[at] = tls.next[at].wrapping_add(bytes.len() as u32);
    }

    /// Plaintext passes in a call, in which the socket is used if it `is_nested`.
    pub(super) fn call(&mut self, tls: &mut Tls, direction: Direction, payload: &[u8], is_nested: bool) {
        self.call_of(tls, direction, payload.len(), payload, is_nested);
    }

    /// The same of which the kernel side hands over nothing.
    pub(super) fn call_without_payload(&mut self, tls: &mut Tls, direction: Direction, length: usize) {
        self.call_of(tls, direction, length, b"", true);
    }

    /// A byte that the kernel side does not hand over, in a call that uses no socket.
    pub(super) fn call_without_socket(&mut self, tls: &mut Tls) {
        self.call_of(tls, Direction::In, 1, b"", false);
    }

    fn call_of(
        &mut self,
        tls: &mut Tls,
        direction: Direction,
        length: usize,
        payload: &[u8],
        is_nested: bool,
    ) {
        let offset = &mut tls.offsets[direction.index()];
        let plaintext = Plaintext {
            object: tls.object,
            library: TlsLibrary::OpenSsl,
            direction,
            offset: *offset,
            length: u32::try_from(length).unwrap(),
            payload,
            socket: is_nested.then_some(tls.cookie),
            is_late: tls.is_late,
            passage: Passage::Whole,
        };
        *offset += length as u64;
        self.event(0, EventKind::Plaintext(plaintext));
    }

    /// The library hands out, or takes, the beginning of a record.
    pub(super) fn ciphertext(&mut self, tls: &Tls, direction: Direction, record: &[u8]) {
        let bytes = &record[..record.len().min(32)];
        self.event(0, EventKind::Ciphertext(Ciphertext { object: tls.object, direction, bytes }));
    }

    /// A call in which the socket is used.
    pub(super) fn nested(&mut self, tls: &mut Tls, direction: Direction, payload: &[u8]) {
        let sealed = tls.seal(payload);
        self.wire(tls, direction, &sealed);
        self.call(tls, direction, payload, true);
    }

    /// A request and its response.
    pub(super) fn nested_exchange(&mut self, tls: &mut Tls, path: &str) {
        let (client, server) =
            if tls.is_client { (Direction::Out, Direction::In) } else { (Direction::In, Direction::Out) };
        self.nested(tls, client, format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
        self.nested(tls, server, RESPONSE);
    }

    /// The object is freed.
    pub(super) fn free(&mut self, tls: &Tls) {
        self.event(0, EventKind::TlsObjectGone(tls.object));
    }

    /// The object is freed, and then the socket closed.
    pub(super) fn tls_close(&mut self, tls: &Tls) {
        self.free(tls);
        let mut tls = Tls { noise: 0, offsets: [0; 2], ..*tls };
        self.end(&mut tls, End::Local);
    }

    /// The connection ends.
    pub(super) fn end(&mut self, tls: &mut Tls, end: End) {
        let (out, inward) = (Direction::Out, Direction::In);
        let Tls { cookie, ends, next: [sent, received], .. } = *tls;
        let fin = Flags::FIN.with(Flags::ACK);
        let closed = owner(tls.object.pid, "worker");
        match end {
            End::Local => {
                // close() ends both directions.
                let change = StateChange::new(OPEN, State::FinWait1);
                let change =
                    StateChange { endpoints: ends, netns: NETNS, owner: Some(closed), shutdown: 3, ..change };
                self.event(cookie, EventKind::StateChange(change));
                self.segment(cookie, ends, out, fin, (sent, received), b"", State::FinWait1);
                self.state(cookie, ends, State::FinWait1, State::FinWait2, None, 0);
                self.segment(cookie, ends, inward, fin, (received, sent + 1), b"", State::FinWait2);
                self.state(cookie, ends, State::FinWait2, State::Close, None, 0);
            }
            End::Peer => {
                self.segment(cookie, ends, inward, fin, (received, sent), b"", OPEN);
                self.state(cookie, ends, OPEN, State::CloseWait, None, 0);
                self.state(cookie, ends, State::CloseWait, State::LastAck, Some(closed), 0);
                self.segment(cookie, ends, out, fin, (sent, received + 1), b"", State::LastAck);
                self.state(cookie, ends, State::LastAck, State::Close, None, 0);
            }
            End::Reset => {
                self.segment(cookie, ends, inward, Flags::RST, (received, 0), b"", OPEN);
                self.state(cookie, ends, OPEN, State::Close, None, 104);
            }
        }
    }
}
