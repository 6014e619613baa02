//! Made-up traffic for property tests: lives of connections as the kernel reports them, played through a pipeline.
#![allow(clippy::unwrap_used, reason = "tests make them")]

use std::net::SocketAddr;

use tcp_trace_model::{
    event::{Direction, Endpoints, Event, EventKind, Flags, Owner, Segment, State, StateChange},
    record::{Filter, Record},
    time::Time,
};

use super::{Output, Pipeline, Settings};

const NETNS: u32 = 4_026_531_840;
const CLIENT_ISN: u32 = 1_000;
const SERVER_ISN: u32 = 4_294_967_000;
const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// The client sends the first FIN.
    Client,
    /// The client sends an RST.
    Reset,
    /// The server answers one more request with an RST.
    Unanswered,
    /// Not.
    Never,
}

/// A connection between two processes of this host, both ends of which are traced.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// The server's port.
    pub port: u16,
    /// The client's process.
    pub client: (u32, &'static str),
    /// The server's process, which the kernel names when it reads first; never, when it does not read.
    pub server: Option<(u32, &'static str)>,
    /// How many exchanges there are.
    pub exchanges: u32,
    /// How it ends.
    pub close: Close,
}

/// How many lives [`Life::of`] tells apart.
pub const LIVES: usize = 2 * 3 * 3 * 3 * 4;

/// One event of a socket.
type Step = (u64, EventKind<'static>);

/// Plays lives, interleaved, with a microsecond between events, and gives the records.
///
/// `picks` says which life goes on next, and is used again and again; `is_lost` says of each event whether the kernel side
/// lost it.
pub fn play(
    filter: Filter,
    lives: &[Life],
    picks: &[usize],
    mut is_lost: impl FnMut(usize) -> bool,
) -> Vec<Record> {
    let mut pipeline = Pipeline::new(Settings { filter, ..Settings::default() });
    let (mut out, mut now) = (Vec::new(), 1_000_000_000);
    let mut steps: Vec<_> =
        lives.iter().zip(0..).map(|(life, number)| life.steps(number).into_iter()).collect();
    let mut picks = picks.iter().copied().cycle();
    let mut number = 0;
    while !steps.is_empty() {
        let pick = picks.next().unwrap_or_default() % steps.len();
        let Some((cookie, kind)) = steps[pick].next() else {
            drop(steps.remove(pick));
            continue;
        };
        now += 1_000;
        if !is_lost(number) {
            pipeline.event(&Event { time: Time(now), cookie, kind });
            take_records(&mut pipeline, &mut out);
        }
        number += 1;
    }
    now += 1_000_000_000;
    pipeline.tick(Time(now));
    pipeline.finish(Time(now));
    take_records(&mut pipeline, &mut out);
    out
}

/// Takes what the pipeline puts out, and adds its records to `records`.
pub fn take_records(pipeline: &mut Pipeline, records: &mut Vec<Record>) {
    while let Some(output) = pipeline.poll() {
        if let Output::Record(record) = output {
            records.push(record);
        }
    }
}

impl Life {
    /// One of [`LIVES`] different ones.
    pub fn of(mut number: usize) -> Self {
        let mut choice = |of: usize| {
            let choice = number % of;
            number /= of;
            choice
        };
        Self {
            port: [80, 8080][choice(2)],
            client: [(5, "curl"), (6, "wget"), (7, "curl")][choice(3)],
            server: [None, Some((11, "nginx")), Some((12, "api"))][choice(3)],
            exchanges: choice(3) as u32,
            close: [Close::Client, Close::Reset, Close::Unanswered, Close::Never][choice(4)],
        }
    }

    fn steps(&self, number: u16) -> Vec<Step> {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let client = Endpoints { local: address(40_000 + number), peer: address(self.port) };
        let mut played = Played {
            client: (1_000 + 2 * u64::from(number), client),
            server: (1_001 + 2 * u64::from(number), client.reversed()),
            listener: (self.port.into(), client.reversed()),
            next: (CLIENT_ISN + u32::from(number) * 0x0010_0000, SERVER_ISN),
            steps: Vec::new(),
        };
        played.handshake(self);
        for number in 0..self.exchanges {
            played.exchange(self.server.filter(|_| number == 0));
        }
        match self.close {
            Close::Client => played.close(self.client, self.server),
            Close::Reset => played.reset(self.client),
            Close::Unanswered => played.unanswered(self.server),
            Close::Never => {}
        }
        played.steps
    }
}

type End = (u64, Endpoints);

/// A life on its way.
struct Played {
    client: End,
    server: End,
    listener: End,
    /// The next sequence number of each direction.
    next: (u32, u32),
    steps: Vec<Step>,
}

impl Played {
    fn state(&mut self, (cookie, endpoints): End, old: State, new: State, owner: Option<(u32, &str)>) {
        let owner = owner.map(|(pid, name)| Owner::new(pid, name));
        let change = StateChange { endpoints, netns: NETNS, owner, ..StateChange::new(old, new) };
        self.steps.push((cookie, EventKind::StateChange(change)));
    }

    /// A segment at both ends: in state `sent` of one, and `received` of the other.
    fn segment(
        &mut self,
        (from, sent): (End, State),
        (to, received): (End, State),
        flags: Flags,
        payload: &'static [u8],
    ) {
        let is_client = from.0 == self.client.0;
        let (sequence, acknowledgment) = if is_client { self.next } else { (self.next.1, self.next.0) };
        for (end, direction, state) in [(from, Direction::Out, sent), (to, Direction::In, received)] {
            let segment = Segment {
                direction,
                flags,
                sequence,
                acknowledgment: if flags.has(Flags::ACK) { acknowledgment } else { 0 },
                length: u32::try_from(payload.len()).unwrap(),
                payload,
                endpoints: end.1,
                netns: Some(NETNS),
                state: Some(state),
                zero_window: false,
                elision: Default::default(),
                verdict: Default::default(),
            };
            self.steps.push((end.0, EventKind::Segment(segment)));
        }
        let length = payload.len() as u32 + u32::from(flags.has(Flags::SYN) || flags.has(Flags::FIN));
        let next = if is_client { &mut self.next.0 } else { &mut self.next.1 };
        *next = next.wrapping_add(length);
    }

    fn handshake(&mut self, life: &Life) {
        let Self { client, server, listener, .. } = *self;
        let unbound = Endpoints { local: SocketAddr::from(([127, 0, 0, 1], 0)), ..client.1 };
        self.state((client.0, unbound), State::Close, State::SynSent, Some(life.client));
        self.segment((client, State::SynSent), (listener, State::Listen), Flags::SYN, b"");
        let syn_ack = Flags::SYN.with(Flags::ACK);
        self.segment((listener, State::SynRecv), (client, State::SynSent), syn_ack, b"");
        self.state(client, State::SynSent, State::Established, None);
        self.segment((client, State::Established), (listener, State::Listen), Flags::ACK, b"");
        self.state(server, State::Listen, State::SynRecv, None);
        self.state(server, State::SynRecv, State::Established, None);
    }

    fn exchange(&mut self, reader: Option<(u32, &str)>) {
        let [client, server] = [self.client, self.server].map(|end| (end, State::Established));
        self.segment(client, server, Flags::ACK, REQUEST);
        if let Some((pid, name)) = reader {
            self.steps.push((self.server.0, EventKind::Owner(Owner::new(pid, name))));
        }
        self.segment(server, client, Flags::ACK, RESPONSE);
    }

    fn close(&mut self, by: (u32, &str), then: Option<(u32, &str)>) {
        let Self { client, server, .. } = *self;
        let fin = Flags::FIN.with(Flags::ACK);
        self.state(client, State::Established, State::FinWait1, Some(by));
        self.segment((client, State::FinWait1), (server, State::Established), fin, b"");
        self.state(server, State::Established, State::CloseWait, None);
        self.state(server, State::CloseWait, State::LastAck, then);
        self.segment((server, State::LastAck), (client, State::FinWait1), fin, b"");
        self.state(client, State::FinWait1, State::FinWait2, None);
        self.segment((client, State::FinWait2), (server, State::LastAck), Flags::ACK, b"");
        self.state(client, State::FinWait2, State::Close, None);
        self.state(server, State::LastAck, State::Close, None);
    }

    fn reset(&mut self, by: (u32, &str)) {
        let Self { client, server, .. } = *self;
        self.state(client, State::Established, State::Close, Some(by));
        let rst = Flags::RST.with(Flags::ACK);
        self.segment((client, State::Close), (server, State::Established), rst, b"");
        self.state(server, State::Established, State::Close, None);
    }

    fn unanswered(&mut self, by: Option<(u32, &str)>) {
        let Self { client, server, .. } = *self;
        let [open_client, open_server] = [client, server].map(|end| (end, State::Established));
        self.segment(open_client, open_server, Flags::ACK, REQUEST);
        self.state(server, State::Established, State::Close, by);
        let rst = Flags::RST.with(Flags::ACK);
        self.segment((server, State::Close), open_client, rst, b"");
        self.state(client, State::Established, State::Close, None);
    }
}
