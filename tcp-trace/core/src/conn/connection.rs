//! One connection: what is known of it, and how events change that.

use std::sync::Arc;

use tcp_trace_model::{
    event::{Direction, Endpoints, Figures, Flags, Owner, Role, Segment, State, StateChange},
    filter::Facts,
    record::{self, ConnectionId, Ends, FlagNames, Network, Process, Route, Text, Transition},
    time::Time,
};

use super::{
    close::{Ending, errno_name, is_timeout},
    handshake::Handshake,
    mini_socket::MiniSocket,
    payload::Payload,
    server_name::ServerName,
};
use crate::stream::{Arrival, Duplex};

/// A state and when it was entered; `None` when that was before the first sight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) state: State,
    pub(super) entered: Option<Time>,
    /// Whether `entered` was inferred.
    pub(super) estimated: bool,
}

/// One connection, from the first sight of its socket until its summary is written.
#[derive(Debug)]
pub struct Connection {
    pub(super) id: ConnectionId,
    pub(super) role: Option<Role>,
    pub(super) endpoints: Option<Endpoints>,
    /// With which addresses its segments leave this host; `None` where these are its own.
    pub(super) translated: Option<Box<Endpoints>>,
    pub(super) netns: Option<u32>,
    pub(super) owner: Option<Arc<Owner>>,
    /// States left, oldest first, and then the present one.
    pub(super) spans: Vec<Span>,
    pub(super) opened: Time,
    pub(super) seen_from_start: bool,
    /// `None` before a SYN or SYN+ACK was seen.
    pub(super) handshake: Option<Box<Handshake>>,
    /// Its bytes.
    pub(super) stream: Duplex,
    /// `None` before anything was seen of its end.
    pub(super) ending: Option<Box<Ending>>,
    pub(super) payload: Payload,
    pub(super) server_name: ServerName,
    pub(super) figures: Figures,
    pub(super) route: Option<Arc<Route>>,
    awaits_route: bool,
    /// The other end, when it is on this host.
    peer: Option<ConnectionId>,
    /// Half-open connections of this listener that were given up.
    pub(super) half_open_unrecorded: u32,
    /// SYNs that this listener did not answer.
    pub(super) syns_unanswered: u32,
    /// What the kernel's socket had sent and received when it was first seen; `None` when nobody knows.
    bytes_before: Option<(u64, u64)>,
    /// Where in its process it was used; `None` when that is not asked for, or was not seen.
    pub(super) stacks: Option<Box<record::Stacks>>,
}

impl Connection {
    /// A connection that is seen for the first time: at its birth, or in the middle of its life in `state`.
    pub fn new(id: ConnectionId, time: Time, state: Option<State>, role: Option<Role>) -> Self {
        let spans = state.map(|state| Span { state, entered: None, estimated: false }).into_iter().collect();
        Self {
            id,
            role,
            endpoints: None,
            translated: None,
            netns: None,
            owner: None,
            spans,
            opened: time,
            seen_from_start: state.is_none(),
            handshake: None,
            stream: Duplex::default(),
            ending: None,
            payload: Payload::default(),
            server_name: ServerName::default(),
            figures: Figures::default(),
            route: None,
            awaits_route: false,
            peer: None,
            half_open_unrecorded: 0,
            syns_unanswered: 0,
            bytes_before: state.is_none().then_some((0, 0)),
            stacks: None,
        }
    }

    /// Its name in the recording.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// What it is for, when known.
    pub fn role(&self) -> Option<Role> {
        self.role
    }

    /// The state that it is in, when known.
    pub fn state(&self) -> Option<State> {
        self.spans.last().map(|span| span.state)
    }

    /// The connection of the other end, when that is on this host and known.
    pub fn peer(&self) -> Option<ConnectionId> {
        self.peer
    }

    /// Notes that the other end's connection is not told of.
    pub fn forget_peer(&mut self) {
        self.peer = None;
    }

    /// Notes which connection is the other end's.
    pub fn learn_peer(&mut self, peer: ConnectionId) {
        self.peer = Some(peer);
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

    /// Notes why the kernel sends an RST, in its own words.
    pub fn learn_reset_reason(&mut self, reason: &Arc<str>) {
        self.ending_mut().reset_reason.get_or_insert_with(|| reason.clone());
    }

    /// Notes what the kernel's socket knows.
    pub fn learn_figures(&mut self, figures: Figures) {
        self.figures = figures;
    }

    /// Notes what its socket had sent and received before it was first seen.
    pub fn count_bytes_from(&mut self, before: (u64, u64)) {
        self.bytes_before = Some(before);
    }

    /// Notes what its open socket has sent and received: of what was skipped, the segments do not tell yet.
    pub fn learn_bytes(&mut self, (sent, received): (u64, u64)) {
        let Some((sent_before, received_before)) = self.bytes_before else { return };
        let fin = u64::from(self.ending().has_fin(Direction::In));
        self.stream.half_mut(Direction::Out).seen.bytes = sent.saturating_sub(sent_before);
        self.stream.half_mut(Direction::In).seen.bytes = received.saturating_sub(received_before + fin);
    }

    /// Counts half-open connections of this listener that are given up.
    pub fn give_up_half_open(&mut self, count: u32) {
        self.half_open_unrecorded = self.half_open_unrecorded.saturating_add(count);
    }

    /// Counts SYNs that this listener did not answer.
    pub fn leave_unanswered(&mut self, count: u32) {
        self.syns_unanswered = self.syns_unanswered.saturating_add(count);
    }

    /// Notes that a listener's half-open connection became this socket, of which this was seen first. Its life began with
    /// the SYN, if that was it.
    pub fn accept(&mut self, first: Option<Time>, is_syn: bool) {
        self.opened = first.unwrap_or(self.opened);
        self.seen_from_start &= is_syn;
    }

    /// Notes that its route is being asked for.
    pub fn ask_route(&mut self) {
        self.awaits_route = true;
    }

    /// Whether an answer to that is still to come.
    pub fn awaits_route(&self) -> bool {
        self.awaits_route
    }

    /// Notes the answer. The last one that tells something counts.
    pub fn learn_route(&mut self, route: Option<Arc<Route>>) {
        self.awaits_route = false;
        self.route = route.or(self.route.take());
    }

    /// Both ends, as far as known.
    pub fn endpoints(&self) -> Option<Endpoints> {
        self.endpoints
    }

    /// Inode number of its network namespace, when known.
    pub fn netns(&self) -> Option<u32> {
        self.netns
    }

    /// Its process, when known.
    pub fn owner(&self) -> Option<&Owner> {
        self.owner.as_deref()
    }

    /// What a filter goes by.
    pub fn facts(&self) -> Facts<'_> {
        Facts {
            endpoints: self.endpoints,
            translated: self.translated_as_known(),
            netns: self.netns,
            owner: self.owner(),
        }
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

    /// Learns addresses; complete ones are kept against the zeros that a closing socket has.
    pub fn learn_endpoints(&mut self, endpoints: Endpoints, netns: Option<u32>) {
        self.netns = netns.or(self.netns);
        let is_complete = |endpoints: &Endpoints| endpoints.local.port() != 0 && endpoints.peer.port() != 0;
        let keeps = self.endpoints.is_some_and(|known| {
            is_complete(&known) || known.local.port() != 0 && endpoints.local.port() == 0
        });
        if !keeps {
            self.endpoints = Some(endpoints);
        }
    }

    /// Learns the process, once: the one that connected, or that first used an accepted socket.
    pub fn learn_owner(&mut self, owner: Arc<Owner>) {
        self.owner.get_or_insert(owner);
    }

    /// Addresses as recorded.
    pub fn network(&self) -> Option<Network> {
        let translated = self.translated().map(Ends::from);
        self.endpoints.map(|endpoints| Network { translated, ..Network::new(endpoints, self.netns) })
    }

    /// Process as recorded.
    pub fn process(&self) -> Option<Process> {
        self.owner().map(process_of)
    }

    /// Applies a state change and gives its record.
    ///
    /// `time` is when the new state was entered: for SYN_RECV the time of the SYN, which is before the
    /// kernel reports it.
    pub fn change_state(&mut self, time: Time, change: &StateChange) -> Option<Transition> {
        if change.error != 0 {
            self.ending_mut().error = change.error;
        }
        if change.new == State::Close {
            let unread = self.unread(change.figures.receive_queue);
            let mini_socket = self.goes_on(change).then(|| MiniSocket::new(time));
            let ending = self.ending_mut();
            // `tcp_reset()` sets an error: without one, the RST that came was not accepted.
            if ending.reset_came && change.error != 0 && !is_timeout(change.error) {
                ending.reset.get_or_insert(Direction::In);
            }
            ending.closed = Some(time);
            ending.passed = change.passed;
            if let Some([_, received_before]) = change.passed {
                self.stream.half_mut(Direction::In).received_before(received_before);
            }
            let ending = self.ending_mut();
            ending.unread = unread;
            ending.mini_socket = mini_socket;
        }
        if change.new == State::Close || change.new == State::Listen {
            self.figures = change.figures;
        }
        // close() after shutdown() sets the state that it finds (`tcp_close_state()`): nothing changes.
        let new = self.true_state(change).filter(|new| *new != change.old)?;
        if new == State::Closing {
            self.ending_mut().simultaneous = true;
        }
        let last = self.spans.last().copied();
        // A state that the kernel leaves and that was not entered: events before it are missing.
        let entered = last.filter(|span| span.state == change.old).and_then(|span| span.entered);
        let gap = last.is_some_and(|span| span.state != change.old);
        if gap {
            self.seen_from_start = false;
            self.spans.push(Span { state: change.old, entered: None, estimated: false });
        }
        // When it was answered is known from its SYN alone.
        let estimated = change.old == State::Listen && new == State::SynRecv && !self.seen_from_start;
        self.spans.push(Span { state: new, entered: Some(time), estimated });
        Some(Transition {
            time,
            connection: self.id,
            old: change.old,
            new,
            in_old_us: entered.map(|entered| time.micros_since(entered)),
            estimated,
            gap,
            reason: errno_name(change.error).filter(|_| new == State::Close).map(str::to_owned),
            role: self.role,
            network: self.network().unwrap_or_else(|| Network::new(change.endpoints, Some(change.netns))),
            process: self.process(),
        })
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
        let handshake = self.handshake.as_mut();
        let is_handshake = handshake.is_some_and(|handshake| handshake.segment(time, segment, retransmit));
        let is_reset = segment.flags.has(Flags::RST);
        let is_fin = segment.flags.has(Flags::FIN);
        if is_reset {
            let ending = self.ending_mut();
            match segment.direction {
                Direction::Out => ending.reset = ending.reset.or(Some(Direction::Out)),
                Direction::In => ending.reset_came = true,
            }
        }
        if is_fin {
            self.ending_mut().fin[segment.direction.index()].get_or_insert(time);
        }
        // The only segments without payload that the kernel side reports are those of handshake and close.
        let is_window_change = self.stream.half_mut(segment.direction).note_window(time, segment);
        let is_recorded = is_handshake || is_reset || is_fin || segment.length == 0 && !is_window_change;
        is_recorded.then(|| record::Segment {
            time,
            connection: self.id,
            direction: segment.direction,
            flags: FlagNames(segment.flags),
            seq: segment.sequence,
            ack: segment.flags.has(Flags::ACK).then_some(segment.acknowledgment),
            length: segment.length,
            retransmit,
        })
    }
}

/// A process as recorded.
pub fn process_of(owner: &Owner) -> Process {
    Process {
        pid: owner.pid,
        name: Text(owner.name.clone()),
        executable: owner.place.executable.clone().map(Text),
        uid: owner.uid,
    }
}
