//! One connection: what is known of it, and how events change that.

use std::sync::Arc;

use tcp_trace_model::{
    connection_info::ConnectionInfo,
    event::{Direction, Endpoints, Flags, Owner, Role, Segment, State, StateChange},
    filter::Facts,
    record::{self, ConnectionId, FlagNames, Network, Transition},
    refusal::Verdict,
    time::Time,
};

use super::{
    close::{Ending, errno_name, is_timeout},
    handshake::Handshake,
    identity::Identity,
    learning::{KernelSocket, Listener, Progress},
    mini_socket::MiniSocket,
    other_end::OtherEnd,
    payload::Payload,
    states::{Left, States},
};
use crate::stream::{Arrival, Duplex, End, Extent};

/// The bit of `sk_shutdown` that ends receiving (`include/net/sock.h`).
const RCV_SHUTDOWN: u8 = 1;

/// How long after the segment that causes it a transition is reported at the latest, in microseconds: both happen in one softirq.
const UNREPORTED_US: u64 = 100_000;
/// The same of a socket's end, in microseconds: what comes to a socket that a system call holds is taken when that is over.
const END_UNREPORTED_US: u64 = 1_000_000;

/// One connection, from the first sight of its socket until its summary is written.
#[derive(Debug)]
pub struct Connection {
    pub(super) identity: Identity,
    pub(super) states: States,
    /// `None` before a SYN or SYN+ACK was seen.
    pub(super) handshake: Option<Box<Handshake>>,
    /// Its bytes.
    pub(super) stream: Duplex,
    /// `None` before anything was seen of its end.
    pub(super) ending: Option<Box<Ending>>,
    pub(super) payload: Payload,
    pub(super) other_end: OtherEnd,
    pub(super) socket: KernelSocket,
    /// What only a listener has.
    pub(super) listener: Listener,
    /// Where in its process it was used; `None` when that is not requested, or was not seen.
    pub(super) stacks: Option<Box<record::Stacks>>,
}

impl Connection {
    /// A connection that is seen for the first time: at its birth, or in the middle of its life in `state`.
    pub fn new(id: ConnectionId, time: Time, state: Option<State>, role: Option<Role>) -> Self {
        Self {
            identity: Identity::new(id, role),
            states: States::new(time, state),
            handshake: None,
            stream: Duplex::default(),
            ending: None,
            payload: Payload::default(),
            other_end: OtherEnd::default(),
            socket: KernelSocket {
                before: state.is_none().then(|| Progress::of_handshake(role == Some(Role::Client))),
                ..KernelSocket::default()
            },
            listener: Listener::default(),
            stacks: None,
        }
    }

    /// What records that are made now say of it.
    pub fn info(&self) -> &Arc<ConnectionInfo> {
        self.identity.info()
    }

    /// The same in a record of what was over at `time`.
    pub fn info_at(&self, time: Time) -> Arc<ConnectionInfo> {
        self.identity.info_at(time)
    }

    /// Its name in the recording.
    pub fn id(&self) -> ConnectionId {
        self.info().id
    }

    /// What it is for, when known.
    pub fn role(&self) -> Option<Role> {
        self.info().role
    }

    /// Notes what it is for, unless that is known.
    pub fn learn_role(&mut self, role: Role) {
        self.identity.learn_role(role);
    }

    /// The state that it is in, when known.
    pub fn state(&self) -> Option<State> {
        self.states.current()
    }

    /// Both ends, as far as known.
    pub fn endpoints(&self) -> Option<Endpoints> {
        self.info().network.as_ref().map(Network::endpoints)
    }

    /// Inode number of its network namespace, when known.
    pub fn netns(&self) -> Option<u32> {
        self.info().network.as_ref()?.netns
    }

    /// Its process, when known.
    pub fn owner(&self) -> Option<&Owner> {
        self.identity.owner()
    }

    /// What a filter goes by.
    pub fn facts(&self) -> Facts<'_> {
        Facts { translated: self.translated_as_known(), ..self.identity.facts() }
    }

    /// The connection of the other end, when that is on this host and known.
    pub fn peer(&self) -> Option<ConnectionId> {
        self.info().peer_connection
    }

    /// Initial sequence numbers of client and server, when the handshake was seen: with the addresses they
    /// tell the two ends of one connection from all others.
    pub fn initial_sequences(&self) -> Option<(u32, u32)> {
        self.handshake.as_ref()?.initial_sequences()
    }

    /// What was seen of its end.
    pub(super) fn ending(&self) -> &Ending {
        self.ending.as_deref().unwrap_or(const { &Ending::NONE })
    }

    /// What was seen of its end, to note more.
    pub(super) fn ending_mut(&mut self) -> &mut Ending {
        self.ending.get_or_insert_default()
    }

    /// Whether its socket is there.
    pub fn has_socket(&self) -> bool {
        let ending = self.ending();
        ending.closed.is_none() && ending.mini_socket.is_none()
    }

    /// When its socket went away.
    pub fn closed(&self) -> Option<Time> {
        self.ending().closed
    }

    /// Applies a state change and gives its record.
    ///
    /// `time` is when the new state was entered: for SYN_RECV the time of the SYN, which is before the
    /// kernel reports it.
    pub fn change_state(&mut self, time: Time, change: &StateChange) -> Option<Transition> {
        self.socket.is_subflow |= change.is_subflow;
        if change.error != 0 {
            self.ending_mut().error = change.error;
        }
        if change.is_exit {
            self.ending_mut().process_ended = true;
        }
        if (change.old, change.new) == (State::Established, State::FinWait1) {
            // close() shuts reading down first (`__tcp_close()`).
            self.ending_mut().half_closed[Direction::Out.index()] = change.shutdown & RCV_SHUTDOWN == 0;
        }
        if change.new == State::Close {
            self.count_passed(change);
            let unread = self.unread(change.stats.receive_queue);
            // `tcp_connect_init()` sets `snd_una`, and `__tcp_close()` shuts both ways down.
            let has_no_syn = self.handshake.is_none() && matches!(change.passed, Some([0, _]));
            let is_unsent = change.old == State::SynSent && has_no_syn && change.shutdown & RCV_SHUTDOWN != 0;
            // connect() itself gave it up. Without a port, `inet_hash_connect()` had none for it; with one, a port of the
            // program's own choice was taken, or `ip_route_newports()` or `tcp_connect()` failed.
            let has_failed = change.old == State::SynSent && has_no_syn && !is_unsent && change.error == 0;
            let has_no_port = has_failed && change.endpoints.local.port() == 0;
            let mini_socket = self.goes_on(change).then(|| MiniSocket::new(time));
            let ending = self.ending_mut();
            // `tcp_reset()` sets an error: without one, the RST that came was not accepted.
            if ending.reset_came && change.error != 0 && !is_timeout(change.error) {
                ending.reset.get_or_insert(Direction::In);
            }
            ending.closed = Some(time);
            (ending.passed, ending.sent_to) = (change.passed, change.sent_to);
            ending.is_unsent = is_unsent;
            ending.has_no_port = has_no_port;
            ending.has_no_syn = has_failed && !has_no_port;
            ending.unread = unread;
            ending.mini_socket = mini_socket;
        }
        if (change.new == State::Close || change.new == State::Listen) && !change.is_inferred {
            self.socket.stats = change.stats;
        }
        // close() after shutdown() sets the state that it finds (`tcp_close_state()`): nothing changes.
        let new = self.true_state(change).filter(|new| *new != change.old)?;
        if new == State::Closing {
            self.ending_mut().simultaneous = true;
        }
        let left = if change.is_inferred {
            self.states.miss(time, new)?
        } else {
            self.states.change(time, change.old, new)
        };
        let reason = errno_name(change.error).filter(|_| new == State::Close);
        Some(self.transition(time, left, new, reason))
    }

    /// The record of a transition, after it.
    pub(super) fn transition(&self, time: Time, left: Left, new: State, reason: Option<&str>) -> Transition {
        let Left { old, in_old_us, estimated, gap } = left;
        let (connection, reason) = (self.info().clone(), reason.map(str::to_owned));
        Transition { time, connection, old, new, in_old_us, estimated, gap, reason }
    }

    /// The state that TCP is in, where the kernel's socket says `CLOSE` because a mini-socket goes on in
    /// its place (`tcp_time_wait()`). `None` when TCP's state does not change.
    fn true_state(&self, change: &StateChange) -> Option<State> {
        match change.new {
            State::Close if self.goes_on(change) => {
                // Without the peer's FIN it is an orphan that goes on waiting for it. Nothing but that FIN leads to CLOSING.
                let has_fin = change.old == State::Closing || self.ending().has_fin(Direction::In);
                has_fin.then_some(State::TimeWait)
            }
            new => Some(new),
        }
    }

    /// Whether a mini-socket goes on where the kernel's socket goes to `CLOSE`.
    fn goes_on(&self, change: &StateChange) -> bool {
        let is_reset = self.ending().reset.is_some() || change.error != 0;
        match change.old {
            State::FinWait2 | State::Closing => !is_reset,
            _ => false,
        }
    }

    /// Notes that a FIN is acknowledged, of a connection whose own has been sent.
    fn note_fin_acknowledged(&mut self, time: Time, segment: &Segment<'_>) {
        let acknowledges = |direction: Direction| {
            segment.flags.has(Flags::ACK)
                && self.ending().has_fin(direction)
                && self.stream.half(direction).ends_with_fin(segment.acknowledgment)
        };
        let state = self.state();
        match segment.direction {
            Direction::In
                if matches!(state, Some(State::FinWait1 | State::LastAck))
                    && acknowledges(Direction::Out) =>
            {
                self.ending_mut().fin_acknowledged.get_or_insert(time);
            }
            Direction::Out
                if matches!(state, Some(State::FinWait1 | State::FinWait2))
                    && acknowledges(Direction::In) =>
            {
                self.ending_mut().acknowledges_fin.get_or_insert(time);
            }
            _ => {}
        }
    }

    /// Enters the state that follows from its segments where the kernel did not report it: a socket in FIN_WAIT1 whose FIN
    /// was acknowledged some time ago is in FIN_WAIT2.
    pub fn catch_up(&mut self, now: Time) -> Option<Transition> {
        let acknowledged = self.ending().fin_acknowledged?;
        let is_missing = self.state() == Some(State::FinWait1)
            && self.has_socket()
            && now.micros_since(acknowledged) >= UNREPORTED_US;
        if !is_missing {
            return None;
        }
        let left = self.states.miss(acknowledged, State::FinWait2)?;
        Some(self.transition(acknowledged, left, State::FinWait2, None))
    }

    /// Whether it has sent its FIN and the kernel has still to report what comes of that.
    pub fn awaits_end(&self) -> bool {
        matches!(self.state(), Some(State::FinWait1 | State::FinWait2 | State::LastAck)) && self.has_socket()
    }

    /// The end that the kernel did not report, with its time: a socket in LAST_ACK whose FIN was acknowledged some time ago is closed,
    /// and one in FIN_WAIT2 that has acknowledged the peer's is in TIME_WAIT (`tcp_rcv_state_process()`, `tcp_fin()`).
    pub fn unreported_end(&self, now: Time) -> Option<(Time, StateChange)> {
        let ending = self.ending();
        let time = match self.state()? {
            State::LastAck => ending.fin_acknowledged,
            State::FinWait2 => ending.acknowledges_fin,
            _ => None,
        };
        let time = time.filter(|time| self.awaits_end() && now.micros_since(*time) >= END_UNREPORTED_US)?;
        let (endpoints, netns) = (self.endpoints()?, self.netns().unwrap_or_default());
        let change = StateChange::new(self.state()?, State::Close);
        Some((time, StateChange { endpoints, netns, is_inferred: true, ..change }))
    }

    /// Counts bytes by what the socket that closes has had acknowledged and has received.
    fn count_passed(&mut self, change: &StateChange) {
        let (Some(passed), true) = (change.passed, change.old != State::SynSent) else { return };
        let first = self.handshake.as_ref().map_or([None; 2], |handshake| handshake.first_bytes());
        let [acknowledged, received] = passed;
        let sent = change.sent_to.map_or((acknowledged, Extent::AtLeast), |number| (number, Extent::Exact));
        for (direction, (number, extent)) in
            [(Direction::Out, sent), (Direction::In, (received, Extent::Exact))]
        {
            let half = self.stream.half_mut(direction);
            let has_fin = match (direction, change.old) {
                (Direction::In, State::CloseWait | State::LastAck | State::Closing) => true,
                (Direction::Out, State::FinWait2 | State::Closing) => true,
                (Direction::In, State::FinWait2) | (Direction::Out, _) => half.ends_with_fin(number),
                (Direction::In, _) => false,
            };
            half.count_to(first[direction.index()], End { number, has_fin, extent });
            if direction == Direction::In && !has_fin {
                // One that was seen was refused.
                self.ending_mut().fin[direction.index()] = None;
            }
        }
    }

    /// Of a receive queue, the bytes: an unread FIN counts 1 in the kernel's number.
    pub(super) fn unread(&self, receive_queue: u32) -> u32 {
        receive_queue.saturating_sub(u32::from(self.ending().has_fin(Direction::In)))
    }

    /// Takes a segment into account, and gives its record when it belongs to the handshake or the close.
    pub fn segment(&mut self, time: Time, segment: &Segment<'_>) -> Option<record::Segment> {
        let arrival = self.stream.segment(time, segment);
        let retransmit = matches!(arrival, Arrival::Retransmit(_));
        self.note_stalls(time, segment, arrival);
        if segment.flags.has(Flags::SYN) {
            self.handshake.get_or_insert_default();
        }
        // The kernel looks at nothing else of one that was received before.
        let is_old = segment.verdict == Verdict::Old;
        let handshake = self.handshake.as_mut().filter(|_| !is_old);
        let is_handshake = handshake.is_some_and(|handshake| handshake.segment(time, segment, retransmit));
        let is_reset = segment.flags.has(Flags::RST);
        let is_fin = segment.flags.has(Flags::FIN);
        if self.ending.is_some() {
            self.note_fin_acknowledged(time, segment);
        }
        if is_reset {
            let ending = self.ending_mut();
            match segment.direction {
                // In SYN_SENT it answers a segment that was refused, and the socket goes on.
                Direction::Out if segment.state == Some(State::SynSent) => {}
                Direction::Out => ending.reset = ending.reset.or(Some(Direction::Out)),
                Direction::In => {
                    ending.reset_came = true;
                    ending.reset_acknowledges =
                        segment.flags.has(Flags::ACK).then_some(segment.acknowledgment);
                }
            }
        }
        if is_fin {
            self.ending_mut().fin[segment.direction.index()].get_or_insert(time);
        }
        let is_window_change = !is_old && self.stream.half_mut(segment.direction).note_window(time, segment);
        let is_of_close = segment.length == 0 && !is_window_change && !self.may_only_settle(segment);
        let is_recorded = is_handshake || is_reset || is_fin || is_of_close;
        let has_line = is_reset
            && segment.direction == Direction::Out
            && self.ending_mut().recorded_reset.take() == Some(segment.sequence);
        (is_recorded && !has_line).then(|| record::Segment {
            time,
            connection: self.info().clone(),
            direction: segment.direction,
            flags: FlagNames(segment.flags),
            seq: segment.sequence,
            ack: segment.flags.has(Flags::ACK).then_some(segment.acknowledgment),
            length: segment.length,
            retransmit,
            refused: None,
        })
    }
}
