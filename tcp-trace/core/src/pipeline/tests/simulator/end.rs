//! One end of a connection, by RFC 9293, and what Linux's tracepoint and hooks report of it.

use std::collections::BTreeMap;

use tcp_trace_model::event::{Direction, Flags, State};

/// Bytes of payload that are under way at most.
const WINDOW: u64 = 8_000;
/// errno of a connection that the peer has reset.
const ECONNRESET: i32 = 104;
/// errno of a reset after the peer's FIN (`tcp_reset()`).
const EPIPE: i32 = 32;

/// A segment on the link. Positions are those of its sender and of its receiver: 0 is the SYN, 1 the first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) flags: Flags,
    pub(super) position: u64,
    pub(super) acknowledged: u64,
    pub(super) payload: Vec<u8>,
}

/// What an end does, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// A segment passes, in the state in which the socket is then. Of a mini-socket no hook reports what it receives, nor what
    /// it sends.
    Pass { direction: Direction, packet: Packet, state: State, is_seen: bool },
    /// The state changes, for this error.
    Change { old: State, new: State, error: i32 },
    /// A mini-socket changes its state: no tracepoint reports it.
    ChangeUnseen { old: State, new: State },
}

/// One end.
#[derive(Debug)]
pub(super) struct End {
    pub(super) state: State,
    /// What was written so far.
    pub(super) written: Vec<u8>,
    /// What was read so far.
    pub(super) received: Vec<u8>,
    mss: usize,
    /// The next position to send, and the first that is not acknowledged.
    pub(super) next: u64,
    pub(super) unacknowledged: u64,
    /// The next position to receive, and what came beyond it.
    pub(super) expected: u64,
    pub(super) beyond: BTreeMap<u64, Vec<u8>>,
    peer_fin: Option<u64>,
    is_closing: bool,
    /// Whether no process has the socket any more.
    is_orphan: bool,
    /// Whether a mini-socket has taken the socket's place.
    is_mini: bool,
    /// How far it had come when something was acknowledged last, and when the oldest segment was sent.
    pub(super) oldest_sent: u64,
    pub(super) deeds: Vec<Deed>,
}

impl End {
    pub(super) fn new(mss: usize) -> Self {
        Self {
            state: State::Close,
            written: Vec::new(),
            received: Vec::new(),
            mss,
            next: 0,
            unacknowledged: 0,
            expected: 0,
            beyond: BTreeMap::new(),
            peer_fin: None,
            is_closing: false,
            is_orphan: false,
            is_mini: false,
            oldest_sent: 0,
            deeds: Vec::new(),
        }
    }

    /// Whether the peer's FIN has come, after all that it sent.
    pub(super) fn has_read_end(&self) -> bool {
        self.peer_fin.is_some_and(|fin| self.expected > fin)
    }

    /// `sk_shutdown`: bit 0 the peer's FIN came, bit 1 writing was shut down.
    pub(super) fn shutdown(&self) -> u8 {
        let both = if self.is_orphan { 3 } else { 0 };
        both | u8::from(self.has_read_end()) | u8::from(self.is_closing) << 1
    }

    fn fin(&self) -> u64 {
        1 + self.written.len() as u64
    }

    /// Whether anything that it sent waits for its acknowledgment.
    pub(super) fn waits(&self) -> bool {
        self.unacknowledged < self.next && !self.is_gone()
    }

    pub(super) fn is_gone(&self) -> bool {
        self.is_mini || self.state == State::Close
    }

    fn change(&mut self, new: State, error: i32) {
        let old = std::mem::replace(&mut self.state, new);
        self.deeds.push(Deed::Change { old, new, error });
    }

    fn pass(&mut self, direction: Direction, packet: Packet) {
        let is_seen = !self.is_mini && (self.state != State::Close || packet.flags.has(Flags::RST));
        self.deeds.push(Deed::Pass { direction, packet, state: self.state, is_seen });
    }

    fn send(&mut self, flags: Flags, position: u64, payload: &[u8]) {
        let acknowledged = self.expected;
        self.pass(Direction::Out, Packet { flags, position, acknowledged, payload: payload.to_vec() });
    }

    fn acknowledge(&mut self) {
        self.send(Flags::ACK, self.next, &[]);
    }

    /// `connect()`.
    pub(super) fn connect(&mut self, now: u64) {
        self.change(State::SynSent, 0);
        self.oldest_sent = now;
        self.next = 1;
        self.send(Flags::SYN, 0, &[]);
    }

    /// A listener takes the SYN: what follows is the half-open connection's.
    pub(super) fn answer_syn(&mut self, now: u64) {
        self.state = State::SynRecv;
        self.expected = 1;
        self.oldest_sent = now;
        self.next = 1;
        self.send(Flags::SYN.with(Flags::ACK), 0, &[]);
    }

    /// The third segment of the handshake has come to the listener.
    pub(super) fn accept(&mut self) {
        self.unacknowledged = 1;
        self.state = State::Listen;
        self.change(State::SynRecv, 0);
        self.change(State::Established, 0);
    }

    pub(super) fn write(&mut self, bytes: &[u8], now: u64) {
        self.written.extend_from_slice(bytes);
        self.send_more(now);
    }

    /// `close()`, or `shutdown(SHUT_WR)` of a socket that stays.
    pub(super) fn close(&mut self, is_orphan: bool, now: u64) {
        self.is_orphan |= is_orphan;
        if self.is_closing {
            return;
        }
        match self.state {
            State::Established => self.change(State::FinWait1, 0),
            State::CloseWait => self.change(State::LastAck, 0),
            _ => return,
        }
        self.is_closing = true;
        self.send_more(now);
    }

    /// `close()` with SO_LINGER 0: the socket is closed, then the RST is sent.
    pub(super) fn reset(&mut self) {
        if !matches!(self.state, State::Established | State::CloseWait) {
            return;
        }
        self.change(State::Close, 0);
        self.send(Flags::RST.with(Flags::ACK), self.next, &[]);
    }

    /// Sends what the window allows, and the FIN behind all.
    fn send_more(&mut self, now: u64) {
        if !matches!(
            self.state,
            State::Established | State::CloseWait | State::FinWait1 | State::LastAck | State::Closing
        ) {
            return;
        }
        if self.unacknowledged == self.next {
            self.oldest_sent = now;
        }
        while self.next < self.fin() && self.next - self.unacknowledged < WINDOW {
            self.send_at(self.next);
        }
        if self.is_closing && self.next == self.fin() {
            self.next += 1;
            self.send(Flags::FIN.with(Flags::ACK), self.fin(), &[]);
        }
    }

    /// Sends a segment that begins at this position.
    fn send_at(&mut self, position: u64) {
        let start = (position - 1) as usize;
        let end = (start + self.mss).min(self.written.len());
        let payload = self.written[start..end].to_vec();
        self.next = self.next.max(1 + end as u64);
        self.send(Flags::ACK.with(Flags::PSH), position, &payload);
    }

    /// The retransmission timer: the first segment that is not acknowledged is sent again.
    pub(super) fn resend(&mut self, now: u64) {
        self.oldest_sent = now;
        match (self.state, self.unacknowledged) {
            (State::SynSent, _) => self.send(Flags::SYN, 0, &[]),
            (State::SynRecv, _) => self.send(Flags::SYN.with(Flags::ACK), 0, &[]),
            (_, position) if position == self.fin() => {
                self.send(Flags::FIN.with(Flags::ACK), position, &[]);
            }
            (_, position) => self.send_at(position),
        }
    }

    /// A segment arrives.
    pub(super) fn arrive(&mut self, packet: &Packet, now: u64) {
        let has = |flag| packet.flags.has(flag);
        if self.is_mini || self.state == State::Close {
            self.arrive_late(packet);
            return;
        }
        self.pass(Direction::In, packet.clone());
        if self.state == State::SynSent {
            if has(Flags::SYN) && packet.acknowledged == 1 {
                (self.unacknowledged, self.expected) = (1, 1);
                self.change(State::Established, 0);
                self.acknowledge();
                self.send_more(now);
            }
            return;
        }
        if has(Flags::RST) {
            self.change(State::Close, if self.state == State::CloseWait { EPIPE } else { ECONNRESET });
            return;
        }
        if has(Flags::SYN) {
            // The SYN+ACK again: its ACK was lost.
            self.acknowledge();
            return;
        }
        if packet.acknowledged > self.unacknowledged {
            self.unacknowledged = packet.acknowledged;
            self.oldest_sent = now;
            if self.unacknowledged > self.fin() {
                self.fin_acknowledged(packet);
            }
        }
        if !packet.payload.is_empty() || has(Flags::FIN) {
            self.take(packet);
        }
        self.send_more(now);
    }

    /// All that it sent is acknowledged, the FIN too.
    fn fin_acknowledged(&mut self, packet: &Packet) {
        match self.state {
            State::FinWait1 => {
                self.change(State::FinWait2, 0);
                // An orphan becomes a mini-socket at once, unless the same segment ends it (tcp_rcv_state_process()).
                if self.is_orphan && !packet.flags.has(Flags::FIN) && packet.payload.is_empty() {
                    self.deeds.push(Deed::Change { old: State::FinWait2, new: State::Close, error: 0 });
                    self.is_mini = true;
                }
            }
            State::Closing => self.time_wait(),
            State::LastAck => self.change(State::Close, 0),
            _ => {}
        }
    }

    fn time_wait(&mut self) {
        let old = std::mem::replace(&mut self.state, State::TimeWait);
        self.deeds.push(Deed::Change { old, new: State::Close, error: 0 });
        self.is_mini = true;
    }

    /// Takes payload and FIN, as far as they are in order.
    fn take(&mut self, packet: &Packet) {
        if packet.flags.has(Flags::FIN) {
            self.peer_fin = Some(packet.position + packet.payload.len() as u64);
        }
        if !packet.payload.is_empty() {
            self.beyond.insert(packet.position, packet.payload.clone());
        }
        while let Some((position, payload)) = self.beyond.pop_first() {
            if position > self.expected {
                self.beyond.insert(position, payload);
                break;
            }
            let new = payload.get((self.expected - position) as usize..).unwrap_or_default();
            self.received.extend_from_slice(new);
            self.expected += new.len() as u64;
        }
        let is_end = self.peer_fin == Some(self.expected);
        if is_end {
            self.expected += 1;
        }
        match (is_end, self.state) {
            (true, State::Established) => {
                self.change(State::CloseWait, 0);
                self.acknowledge();
            }
            (true, State::FinWait1) => {
                self.acknowledge();
                self.change(State::Closing, 0);
            }
            (true, State::FinWait2) => {
                self.acknowledge();
                self.time_wait();
            }
            _ => self.acknowledge(),
        }
    }

    /// A segment arrives at a mini-socket, or where nothing is any more.
    fn arrive_late(&mut self, packet: &Packet) {
        if !self.is_mini || !packet.flags.has(Flags::FIN) {
            return;
        }
        if self.state == State::FinWait2 && packet.position + packet.payload.len() as u64 == self.expected {
            self.state = State::TimeWait;
            self.expected += 1;
            self.deeds.push(Deed::ChangeUnseen { old: State::FinWait2, new: State::TimeWait });
        }
        self.acknowledge();
    }
}
