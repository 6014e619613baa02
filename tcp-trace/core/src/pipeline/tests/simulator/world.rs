//! Two ends, the link between them, the processes that use them; and all that the kernel side could report of it.

use std::{cmp::Reverse, collections::BinaryHeap};

use tcp_trace_ebpf::decide::acceptance::Judgment;
use tcp_trace_model::event::{Direction, Flags, State};

use super::{
    end::{Deed, End, Packet},
    forged::{self, Forged},
};

/// How long a segment waits for its acknowledgment before it is sent again, in nanoseconds.
const TIMEOUT: u64 = 200_000_000;
/// Between two things that one segment causes, in nanoseconds.
const STEP: u64 = 1_000;
/// How long two ends may take for their scene, in nanoseconds: more than any loss that a scene has makes them take.
const LIMIT: u64 = 60_000_000_000;

pub(super) const CLIENT: usize = 0;
pub(super) const SERVER: usize = 1;

/// How the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finale {
    /// This end closes, its process has the socket no more.
    Close(usize),
    /// This end shuts writing down and keeps the socket.
    Shutdown(usize),
    /// Both close at the same time.
    Both,
    /// This end resets the connection.
    Reset(usize),
}

/// A scene.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) seed: u64,
    /// Segments of a thousand that the link loses.
    pub(super) loss: u64,
    /// How much longer than the least a segment may take, in nanoseconds: more than between two segments reorders them.
    pub(super) jitter: u64,
    pub(super) mss: usize,
    /// Bytes of the body of each request and of its response.
    pub(super) exchanges: Vec<(usize, usize)>,
    pub(super) finale: Finale,
    /// Segments of nobody, and which arrival each comes before.
    pub(super) forged: Vec<(usize, Forged)>,
}

/// What happened, and what the kernel side could have reported of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Observation {
    pub(super) time: u64,
    /// Whose: `Some(CLIENT)`, `Some(SERVER)`, or the listener's for a connection that is half-open.
    pub(super) end: Option<usize>,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Change {
        old: State,
        new: State,
        error: i32,
        shutdown: u8,
        /// Acknowledged, received, sent.
        passed: [u64; 3],
    },
    Segment {
        direction: Direction,
        packet: Packet,
        state: State,
        judgment: Judgment,
    },
    /// The process uses the socket for the first time.
    Use,
}

/// A change of state that really happened.
pub(super) type Change = (State, State, u64);

/// A scene that was played.
#[derive(Debug, Default)]
pub(super) struct Played {
    pub(super) observations: Vec<Observation>,
    /// The true life of each end.
    pub(super) lives: [Vec<Change>; 2],
    /// Bytes of payload that each end sent, each counted once, and that it received in order.
    pub(super) bytes: [(u64, u64); 2],
    /// How many exchanges were complete at the client.
    pub(super) complete: usize,
    pub(super) ended: u64,
    /// How many forged segments a socket refused for sure, of those that the programs report.
    pub(super) forged: usize,
}

impl Played {
    /// When SYNs came to the listener.
    pub(super) fn syns(&self) -> impl Iterator<Item = u64> {
        let is_syn = |observation: &&Observation| match &observation.kind {
            Kind::Segment { direction: Direction::In, packet, .. } => {
                observation.end.is_none() && packet.flags.has(Flags::SYN)
            }
            _ => false,
        };
        self.observations.iter().filter(is_syn).map(|observation| observation.time)
    }
}

/// Numbers that look random (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % sides.max(1)
    }
}

/// What is still to happen.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// A segment arrives at this end: its number among those that were sent.
    Arrive(usize, usize),
    /// The process of this end may act.
    Act(usize),
    /// The retransmission timer of this end may have run out.
    Timer(usize),
}

struct World<'a> {
    scene: &'a Scene,
    dice: Dice,
    now: u64,
    due: BinaryHeap<Reverse<(u64, usize, Due)>>,
    count: usize,
    ends: [End; 2],
    /// Whether the server's end is still the listener's.
    is_half_open: bool,
    first_syn: Option<u64>,
    packets: Vec<Packet>,
    arrivals: usize,
    used: [bool; 2],
    asked: usize,
    answered: usize,
    played: Played,
}

/// Plays a scene to its end.
pub(super) fn play(scene: &Scene) -> Played {
    let mut world = World {
        scene,
        dice: Dice(scene.seed),
        now: 1_000_000_000_000,
        due: BinaryHeap::new(),
        count: 0,
        ends: [End::new(scene.mss), End::new(scene.mss)],
        is_half_open: true,
        first_syn: None,
        packets: Vec::new(),
        arrivals: 0,
        used: [false; 2],
        asked: 0,
        answered: 0,
        played: Played::default(),
    };
    let start = world.now;
    world.ends[CLIENT].connect(start);
    world.flush(CLIENT);
    while let Some(Reverse((time, _, due))) = world.due.pop() {
        if time > start + LIMIT {
            break;
        }
        world.now = world.now.max(time);
        match due {
            Due::Arrive(end, packet) => world.arrive(end, packet),
            Due::Act(end) => world.act(end),
            Due::Timer(end) => world.timer(end),
        }
    }
    world.played.bytes = world.ends.each_ref().map(|end| {
        let sent = end.next.saturating_sub(1).min(end.written.len() as u64);
        (sent, end.received.len() as u64)
    });
    world.played.ended = world.now;
    world.played
}

/// A request with this number and body.
pub(super) fn request(number: usize, body: usize) -> Vec<u8> {
    let mut bytes =
        format!("POST /{number} HTTP/1.1\r\nHost: shop.example\r\nContent-Length: {body}\r\n\r\n")
            .into_bytes();
    bytes.resize(bytes.len() + body, b'q');
    bytes
}

/// Its response.
pub(super) fn response(number: usize, body: usize) -> Vec<u8> {
    let mut bytes =
        format!("HTTP/1.1 {} OK\r\nContent-Length: {body}\r\n\r\n", 200 + number % 7).into_bytes();
    bytes.resize(bytes.len() + body, b'a');
    bytes
}

impl World<'_> {
    fn later(&mut self, delay: u64, due: Due) {
        self.count += 1;
        self.due.push(Reverse((self.now + delay, self.count, due)));
    }

    fn step(&mut self) -> u64 {
        self.now += STEP;
        self.now
    }

    fn observe(&mut self, end: Option<usize>, kind: Kind) {
        let time = self.step();
        self.played.observations.push(Observation { time, end, kind });
    }

    /// Takes what an end did: observes it, and puts what it sent on the link.
    fn flush(&mut self, end: usize) {
        for deed in std::mem::take(&mut self.ends[end].deeds) {
            let is_listeners = end == SERVER && self.is_half_open;
            match deed {
                Deed::Change { old, new, error } => {
                    let own = &self.ends[end];
                    let passed = [own.unacknowledged, own.expected, own.next];
                    let shutdown = own.shutdown();
                    self.observe(Some(end), Kind::Change { old, new, error, shutdown, passed });
                    let is_mini = matches!(self.ends[end].state, State::TimeWait);
                    match (old, new) {
                        // The life of an accepted connection begins with its SYN.
                        (State::Listen, _) => {
                            let began = self.first_syn.unwrap_or(self.now);
                            self.played.lives[end].push((old, new, began));
                        }
                        (_, State::Close) if is_mini => {
                            self.played.lives[end].push((old, State::TimeWait, self.now));
                        }
                        // It stays in FIN_WAIT2 as a mini-socket.
                        (State::FinWait2, State::Close) => {}
                        _ => self.played.lives[end].push((old, new, self.now)),
                    }
                }
                Deed::ChangeUnseen { old, new } => self.played.lives[end].push((old, new, self.now)),
                Deed::Pass { direction, packet, state, is_seen } => {
                    if is_seen {
                        let owner = if is_listeners { None } else { Some(end) };
                        let judgment = Judgment::TAKEN;
                        let packet = packet.clone();
                        self.observe(owner, Kind::Segment { direction, packet, state, judgment });
                    }
                    if direction == Direction::Out {
                        self.transmit(1 - end, packet);
                    }
                }
            }
        }
        if self.ends[end].waits() {
            self.later(TIMEOUT, Due::Timer(end));
        }
    }

    fn transmit(&mut self, to: usize, packet: Packet) {
        if self.dice.roll(1_000) < self.scene.loss {
            return;
        }
        let delay = 20_000 + self.dice.roll(self.scene.jitter + 1);
        self.packets.push(packet);
        self.later(delay, Due::Arrive(to, self.packets.len() - 1));
    }

    fn arrive(&mut self, end: usize, packet: usize) {
        let packet = self.packets[packet].clone();
        self.arrivals += 1;
        let (scene, arrival) = (self.scene, self.arrivals);
        for (_, forged) in scene.forged.iter().filter(|(before, _)| *before == arrival) {
            self.arrive_forged(end, forged);
        }
        if end == SERVER && self.is_half_open {
            self.arrive_at_listener(&packet);
        } else {
            let now = self.now;
            self.ends[end].arrive(&packet, now);
            self.flush(end);
        }
        self.later(30_000, Due::Act(end));
    }

    /// A segment arrives that nobody sent, and that the kernel refuses.
    fn arrive_forged(&mut self, end: usize, forged: &Forged) {
        let own = &self.ends[end];
        if end == SERVER && self.is_half_open {
            if let Some(packet) = forged.for_half_open(own).filter(|_| self.first_syn.is_some()) {
                let (direction, state, judgment) = (Direction::In, State::Listen, Judgment::TAKEN);
                self.observe(None, Kind::Segment { direction, packet, state, judgment });
            }
        } else if let Some((packet, judgment)) = forged.refused_by(own) {
            let (direction, state) = (Direction::In, own.state);
            let is_counted = !forged::is_unsure(judgment) && forged::is_reported(&packet);
            self.played.forged += usize::from(is_counted);
            self.observe(Some(end), Kind::Segment { direction, packet, state, judgment });
        }
    }

    fn arrive_at_listener(&mut self, packet: &Packet) {
        let (direction, state, judgment) = (Direction::In, State::Listen, Judgment::TAKEN);
        let seen = Kind::Segment { direction, packet: packet.clone(), state, judgment };
        if packet.flags.has(Flags::SYN) {
            self.observe(None, seen);
            let first = self.now;
            self.first_syn.get_or_insert(first);
            self.ends[SERVER].answer_syn(first);
            self.flush(SERVER);
        } else if packet.flags.has(Flags::RST) {
            // A half-open connection that is reset is gone; scenes reset established ones.
        } else if self.first_syn.is_some() {
            self.observe(None, seen);
            self.is_half_open = false;
            self.ends[SERVER].accept();
            self.flush(SERVER);
            // The child takes the same segment; the hook has seen it already.
            let now = self.now;
            self.ends[SERVER].arrive(packet, now);
            self.ends[SERVER].deeds.remove(0);
            self.flush(SERVER);
        }
    }

    fn timer(&mut self, end: usize) {
        let oldest = self.ends[end].oldest_sent;
        if !self.ends[end].waits() {
            return;
        }
        if self.now < oldest + TIMEOUT {
            self.later(oldest + TIMEOUT - self.now, Due::Timer(end));
            return;
        }
        let now = self.now;
        self.ends[end].resend(now);
        self.flush(end);
    }

    /// What the processes do, when it is their turn.
    fn act(&mut self, end: usize) {
        if self.ends[end].is_gone() || end == SERVER && self.is_half_open {
            return;
        }
        let scene = self.scene;
        if !self.used[end] && end == SERVER && !self.ends[end].received.is_empty() {
            self.used[end] = true;
            self.observe(Some(end), Kind::Use);
        }
        let now = self.step();
        if end == SERVER {
            let needed: usize =
                (0..=self.answered).filter_map(|n| Some(request(n, scene.exchanges.get(n)?.0).len())).sum();
            if self.answered < scene.exchanges.len() && self.ends[SERVER].received.len() >= needed {
                let answer = response(self.answered, scene.exchanges[self.answered].1);
                self.answered += 1;
                self.ends[SERVER].write(&answer, now);
            }
        } else {
            let needed: usize = (0..self.asked).map(|n| response(n, scene.exchanges[n].1).len()).sum();
            let is_answered = self.ends[CLIENT].received.len() >= needed;
            if is_answered {
                self.played.complete = self.asked;
            }
            let is_open = self.ends[CLIENT].state == State::Established;
            if is_answered && is_open && self.asked < scene.exchanges.len() {
                let question = request(self.asked, scene.exchanges[self.asked].0);
                self.asked += 1;
                self.ends[CLIENT].write(&question, now);
            }
        }
        self.finale(end, now);
        self.flush(end);
    }

    /// The last act, once all is answered.
    fn finale(&mut self, end: usize, now: u64) {
        let is_done = self.played.complete == self.scene.exchanges.len();
        if is_done {
            let is_own = match self.scene.finale {
                Finale::Close(who) | Finale::Shutdown(who) | Finale::Reset(who) => who == end,
                Finale::Both => true,
            };
            match self.scene.finale {
                Finale::Reset(_) if is_own => self.ends[end].reset(),
                Finale::Shutdown(_) if is_own => self.ends[end].close(false, now),
                _ if is_own => self.ends[end].close(true, now),
                _ => {}
            }
            // Nothing else may wake the one that has to begin.
            let is_others = !is_own || self.scene.finale == Finale::Both;
            if is_others && self.ends[1 - end].state == State::Established {
                self.later(0, Due::Act(1 - end));
            }
        }
        if self.ends[end].has_read_end() {
            self.ends[end].close(true, now);
        }
    }
}
