//! Connections that a listener has answered and nobody has accepted yet.
//!
//! Their SYN, SYN+ACK and ACK pass under the listener's cookie. They wait here, by addresses, until the
//! third segment makes a socket of them, or until they are over.

use std::collections::{HashMap, HashSet, VecDeque};

use tcp_trace_model::{
    event::{Cookie, Direction, Endpoints, Flags, Segment},
    time::Time,
};

use super::FourTuple;

/// Half-open connections that are remembered; a SYN flood fills it and no more.
pub const HALF_OPEN_MAX: usize = 16_384;
/// Segments that are held of each: retransmits of a stubborn client, and data that came with the ACK.
const SEGMENTS_MAX: usize = 32;
/// Payload bytes that are held of each.
const PAYLOAD_MAX: usize = 65_536;
/// After this time without a socket a half-open connection that the kernel does not list is over: longer than
/// the kernel keeps it (5 retransmits of the SYN+ACK, 63 s).
const LIFETIME_US: u64 = 120_000_000;
/// Those that are younger need not be looked for in the kernel's list: most of them become sockets in time.
const LISTED_AFTER_US: u64 = 1_000_000;
/// Sequence numbers beyond the expected one at which an RST still counts: the smallest of usual windows.
const WINDOW: u32 = 65_535;

/// A segment with its payload, kept for the socket that will come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldSegment {
    /// When it passed.
    pub time: Time,
    segment: Segment<'static>,
    payload: Vec<u8>,
}

impl HeldSegment {
    fn new(time: Time, segment: &Segment<'_>) -> Self {
        Self { time, payload: segment.payload.to_vec(), segment: Segment { payload: &[], ..*segment } }
    }

    /// The segment as it was.
    pub fn segment(&self) -> Segment<'_> {
        Segment { payload: &self.payload, ..self.segment.clone() }
    }
}

/// A half-open connection that never became a socket.
#[derive(Debug, PartialEq, Eq)]
pub struct Over {
    /// Its addresses, seen from the listener.
    pub four_tuple: FourTuple,
    /// Its listener.
    pub listener: Cookie,
    /// What passed, the SYN first.
    pub segments: Vec<HeldSegment>,
    /// When it ended; `None` when the session ends first.
    pub ended: Option<Time>,
    /// Whether `ended` was inferred.
    pub estimated: bool,
    /// Whether the listener answered, or the kernel listed it: else there was a SYN and nothing more.
    pub answered: bool,
    /// Whether it ended because its listener did.
    pub listener_closed: bool,
}

#[derive(Debug)]
struct Entry {
    listener: Cookie,
    segments: Vec<HeldSegment>,
    payload: usize,
    /// When the kernel listed it last.
    listed: Option<Time>,
    /// A SYN with another sequence number, which was not answered yet.
    rival: Option<HeldSegment>,
}

/// All half-open connections of the host.
#[derive(Debug, Default)]
pub struct HalfOpen {
    entries: HashMap<FourTuple, Entry>,
    /// Keys by the time of their first segment.
    order: VecDeque<(Time, FourTuple)>,
    /// Those that ended since they were asked for.
    over: Vec<Over>,
    /// Listeners of those that were given up since they were asked for.
    given_up: Vec<Cookie>,
}

impl HalfOpen {
    /// Takes a segment that passed under a listener's cookie. Returns how many events are given up.
    pub fn segment(&mut self, key: FourTuple, listener: Cookie, time: Time, segment: &Segment<'_>) -> u64 {
        let is_first = segment.direction == Direction::In
            && segment.flags.has(Flags::SYN)
            && !segment.flags.has(Flags::ACK);
        if is_first && self.is_another_syn(&key, segment.sequence) {
            // The same addresses again with another sequence number. The kernel keeps what it has answered
            // (`tcp_check_req()`); whether there is a new attempt, its next SYN+ACK tells.
            match self.entries.get_mut(&key).filter(|entry| entry.is_answered()) {
                Some(entry) => {
                    entry.rival = Some(HeldSegment::new(time, segment));
                    return 0;
                }
                None => self.end(&key, time, false),
            }
        }
        if let Some(rival) = self.taken_over(&key, segment) {
            self.end(&key, time, false);
            self.segment(key, listener, rival.time, &rival.segment());
        }
        if !self.entries.contains_key(&key) {
            if !is_first {
                return 0;
            }
            self.make_room();
            self.order.push_back((time, key));
        }
        let entry = self.entries.entry(key).or_insert_with(|| Entry {
            listener,
            segments: Vec::new(),
            payload: 0,
            listed: None,
            rival: None,
        });
        if entry.segments.len() >= SEGMENTS_MAX || entry.payload + segment.payload.len() > PAYLOAD_MAX {
            return 1;
        }
        entry.payload += segment.payload.len();
        entry.segments.push(HeldSegment::new(time, segment));
        if entry.is_reset_by(segment) {
            self.end(&key, time, false);
        }
        0
    }

    /// The segments of the connection that became a socket.
    pub fn take(&mut self, key: &FourTuple) -> Vec<HeldSegment> {
        self.entries.remove(key).map(|entry| entry.segments).unwrap_or_default()
    }

    /// Those that ended since the last call.
    pub fn take_over(&mut self) -> Vec<Over> {
        std::mem::take(&mut self.over)
    }

    /// The listener of each that was given up since the last call, because there were too many.
    pub fn take_given_up(&mut self) -> Vec<Cookie> {
        std::mem::take(&mut self.given_up)
    }

    /// Ends what has not become a socket in time.
    pub fn tick(&mut self, now: Time) {
        let mut listed = Vec::new();
        while let Some((time, key)) = self.order.front().copied() {
            let is_gone = !self.is_of_time(&key, time);
            if !is_gone && now.micros_since(time) < LIFETIME_US {
                break;
            }
            self.order.pop_front();
            let is_listed = self.entries.get(&key).is_some_and(|entry| entry.listed.is_some());
            if !is_gone && is_listed {
                // The kernel's list will tell when it is over.
                listed.push((time, key));
            } else if !is_gone {
                self.end(&key, now, true);
            }
        }
        for entry in listed.into_iter().rev() {
            self.order.push_front(entry);
        }
    }

    /// Ends those of a listener that is closed.
    pub fn listener_closed(&mut self, listener: Cookie, time: Time) {
        let of_listener = self.entries.iter().filter(|(_, entry)| entry.listener == listener);
        let mut keys: Vec<_> = of_listener.map(|(key, _)| *key).collect();
        // The table's own order differs from run to run.
        keys.sort_unstable_by_key(|key| (key.netns, key.endpoints));
        for key in keys {
            self.end(&key, time, false);
            if let Some(over) = self.over.last_mut() {
                over.listener_closed = true;
            }
        }
    }

    /// The namespaces with half-open connections that should be looked for in the kernel's list.
    pub fn namespaces(&self, now: Time, into: &mut Vec<u32>) {
        for (time, key) in &self.order {
            if now.micros_since(*time) < LISTED_AFTER_US {
                break;
            }
            if !into.contains(&key.netns) && self.is_of_time(key, *time) {
                into.push(key.netns);
            }
        }
    }

    /// Compares with what the kernel listed of a namespace from `from` on. One that was listed before and is no
    /// more is over. One that never was may be a SYN cookie, of which the kernel keeps nothing.
    pub fn listed(&mut self, netns: u32, from: Time, listed: &HashSet<Endpoints>) {
        let mut over = Vec::new();
        for (key, entry) in self.entries.iter_mut().filter(|(key, _)| key.netns == netns) {
            if listed.contains(&key.endpoints) {
                entry.listed = Some(from);
            } else if let Some(last) = entry.listed {
                over.push((last, *key));
            }
        }
        // The table's own order differs from run to run.
        over.sort_unstable_by_key(|(last, key)| (*last, key.endpoints));
        for (last, key) in over {
            self.end(&key, last.middle(from), true);
        }
    }

    /// Gives up all that are left, because the session ends.
    pub fn finish(&mut self) {
        let mut left: Vec<_> = self.entries.keys().copied().collect();
        // The table's own order differs from run to run.
        left.sort_unstable_by_key(|key| (key.netns, key.endpoints));
        for key in left {
            self.remove(&key, None, false);
        }
    }

    fn end(&mut self, key: &FourTuple, ended: Time, estimated: bool) {
        self.remove(key, Some(ended), estimated);
    }

    fn remove(&mut self, key: &FourTuple, ended: Option<Time>, estimated: bool) {
        if let Some(entry) = self.entries.remove(key) {
            let answered = entry.is_answered();
            let Entry { listener, segments, .. } = entry;
            self.over.push(Over {
                four_tuple: *key,
                listener,
                segments,
                ended,
                estimated,
                answered,
                listener_closed: false,
            });
        }
    }

    /// The SYN that a SYN+ACK answers, if that is another than the entry's.
    fn taken_over(&mut self, key: &FourTuple, segment: &Segment<'_>) -> Option<HeldSegment> {
        let answers = |syn: &HeldSegment| syn.segment.sequence.wrapping_add(1) == segment.acknowledgment;
        let is_syn_ack =
            segment.direction == Direction::Out && segment.flags.has(Flags::SYN.with(Flags::ACK));
        let rival = self.entries.get_mut(key).filter(|_| is_syn_ack)?;
        rival.rival.take_if(|rival| answers(rival))
    }

    fn is_another_syn(&self, key: &FourTuple, sequence: u32) -> bool {
        let first = self.entries.get(key).and_then(|entry| entry.segments.first());
        first.is_some_and(|first| first.segment.sequence != sequence)
    }

    /// Whether the entry is the one that was made at `time`, and not a later one with the same addresses.
    fn is_of_time(&self, key: &FourTuple, time: Time) -> bool {
        let first = self.entries.get(key).and_then(|entry| entry.segments.first());
        first.is_some_and(|first| first.time == time)
    }

    fn make_room(&mut self) {
        while self.entries.len() >= HALF_OPEN_MAX {
            let Some((time, key)) = self.order.pop_front() else {
                break;
            };
            if self.is_of_time(&key, time)
                && let Some(entry) = self.entries.remove(&key)
            {
                self.given_up.push(entry.listener);
            }
        }
        // Entries that became sockets leave their place in the order; it must not grow without bound.
        if self.order.len() >= 2 * HALF_OPEN_MAX {
            let order = std::mem::take(&mut self.order);
            self.order = order.into_iter().filter(|(time, key)| self.is_of_time(key, *time)).collect();
        }
    }
}

impl Entry {
    /// Whether there is more of it than a SYN. Linux 6.1 does not show the answers of IPv6 listeners to cgroup
    /// programs, but lists the connection.
    fn is_answered(&self) -> bool {
        let is_answer = |held: &HeldSegment| held.segment.direction == Direction::Out;
        self.listed.is_some() || self.segments.iter().any(is_answer)
    }

    /// Whether the client's RST ends it (`tcp_check_req()`): its number has to be one that is expected.
    fn is_reset_by(&self, segment: &Segment<'_>) -> bool {
        let is_reset = segment.direction == Direction::In && segment.flags.has(Flags::RST);
        let syn = self.segments.first().map(|first| first.segment.sequence);
        is_reset && syn.is_some_and(|syn| segment.sequence.wrapping_sub(syn.wrapping_add(1)) <= WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tcp_trace_model::event::State;

    use super::*;

    const LISTENER: Cookie = 2;

    fn key(port: u16) -> FourTuple {
        let endpoints = Endpoints {
            local: SocketAddr::from(([127, 0, 0, 1], 80)),
            peer: SocketAddr::from(([127, 0, 0, 1], port)),
        };
        FourTuple { netns: 1, endpoints }
    }

    fn syn(sequence: u32) -> Segment<'static> {
        Segment {
            direction: Direction::In,
            flags: Flags::SYN,
            sequence,
            acknowledgment: 0,
            length: 0,
            payload: &[],
            endpoints: key(1).endpoints,
            netns: Some(1),
            state: Some(State::Listen),
            zero_window: false,
            skipping: Default::default(),
        }
    }

    fn ack(payload: &'static [u8]) -> Segment<'static> {
        let length = u32::try_from(payload.len()).unwrap();
        Segment { flags: Flags::ACK, sequence: 101, payload, length, ..syn(0) }
    }

    #[test]
    fn the_socket_gets_what_passed_before_it_existed() {
        let mut half_open = HalfOpen::default();
        half_open.segment(key(1), LISTENER, Time(1), &syn(100));
        half_open.segment(key(2), LISTENER, Time(2), &syn(200));
        half_open.segment(key(1), LISTENER, Time(3), &ack(b"GET"));
        let held = half_open.take(&key(1));
        assert_eq!(held.len(), 2);
        assert_eq!((held[0].time, held[0].segment().sequence), (Time(1), 100));
        assert_eq!(held[1].segment().payload, b"GET");
        assert!(half_open.take(&key(1)).is_empty(), "they are handed out once");
        assert_eq!(half_open.take(&key(2)).len(), 1);
    }

    #[test]
    fn a_second_syn_replaces_an_answered_one_only_when_it_is_answered() {
        let syn_ack = |acknowledgment| Segment {
            direction: Direction::Out,
            flags: Flags::SYN.with(Flags::ACK),
            acknowledgment,
            ..syn(900)
        };
        let mut half_open = HalfOpen::default();
        half_open.segment(key(1), LISTENER, Time(1), &syn(100));
        half_open.segment(key(1), LISTENER, Time(2), &syn_ack(101));
        half_open.segment(key(1), LISTENER, Time(3), &syn(700));
        half_open.segment(key(1), LISTENER, Time(4), &syn_ack(101));
        assert!(half_open.take_over().is_empty(), "the kernel keeps the first");
        half_open.segment(key(1), LISTENER, Time(5), &syn_ack(701));
        let over = half_open.take_over();
        assert_eq!((over.len(), over[0].segments.len(), over[0].ended), (1, 3, Some(Time(5))));
        let held = half_open.take(&key(1));
        let times: Vec<_> = held.iter().map(|held| held.time).collect();
        assert_eq!(times, [Time(3), Time(5)]);
    }

    #[test]
    fn one_that_the_kernel_lists_is_kept_however_old() {
        let mut half_open = HalfOpen::default();
        half_open.segment(key(1), LISTENER, Time(0), &syn(100));
        let later = Time(119_000_000_000);
        half_open.listed(1, later, &HashSet::from([key(1).endpoints]));
        half_open.tick(Time(200_000_000_000));
        assert!(half_open.take_over().is_empty());
        half_open.listed(1, Time(201_000_000_000), &HashSet::new());
        assert_eq!(half_open.take_over().len(), 1);
    }

    #[test]
    fn a_new_attempt_with_the_same_addresses_replaces_the_old_one() {
        let mut half_open = HalfOpen::default();
        half_open.segment(key(1), LISTENER, Time(1), &syn(100));
        half_open.segment(key(1), LISTENER, Time(2), &syn(100));
        half_open.segment(key(1), LISTENER, Time(3), &syn(900));
        let held = half_open.take(&key(1));
        assert_eq!(held.len(), 1);
        assert_eq!(held[0].segment().sequence, 900);
    }

    #[test]
    fn an_ack_without_a_syn_is_not_held() {
        let mut half_open = HalfOpen::default();
        assert_eq!(half_open.segment(key(1), LISTENER, Time(1), &ack(b"")), 0);
        assert!(half_open.take(&key(1)).is_empty());
    }

    #[test]
    fn a_syn_flood_is_bounded_and_what_it_pushes_out_is_counted() {
        let mut half_open = HalfOpen::default();
        for attempt in 0..3 * HALF_OPEN_MAX {
            let sequence = u32::try_from(attempt).unwrap();
            let mut key = key(u16::try_from(attempt % 65_536).unwrap());
            key.netns = u32::try_from(attempt / 65_536).unwrap();
            assert_eq!(half_open.segment(key, LISTENER, Time(attempt as u64), &syn(sequence)), 0);
        }
        assert_eq!(half_open.entries.len(), HALF_OPEN_MAX);
        assert_eq!(half_open.take_given_up(), vec![LISTENER; 2 * HALF_OPEN_MAX]);
    }

    #[test]
    fn connections_that_complete_leave_no_trace() {
        let mut half_open = HalfOpen::default();
        for attempt in 0..4 * HALF_OPEN_MAX {
            let mut key = key(u16::try_from(attempt % 65_536).unwrap());
            key.netns = u32::try_from(attempt / 65_536).unwrap();
            half_open.segment(key, LISTENER, Time(attempt as u64), &syn(1));
            half_open.take(&key);
        }
        half_open.tick(Time(u64::MAX));
        assert_eq!((half_open.entries.len(), half_open.order.len()), (0, 0));
    }

    #[test]
    fn the_clients_reset_ends_it_if_its_number_is_expected() {
        let mut half_open = HalfOpen::default();
        let reset = |sequence| Segment { flags: Flags::RST, ..syn(sequence) };
        half_open.segment(key(1), LISTENER, Time(1), &syn(100));
        half_open.segment(key(1), LISTENER, Time(2), &reset(99));
        assert!(half_open.take_over().is_empty());
        half_open.segment(key(1), LISTENER, Time(3), &reset(101));
        let over = half_open.take_over();
        assert_eq!((over.len(), over[0].ended, over[0].estimated), (1, Some(Time(3)), false));
        assert!(half_open.take(&key(1)).is_empty());
    }

    #[test]
    fn one_that_the_kernel_listed_and_lists_no_more_is_over() {
        let mut half_open = HalfOpen::default();
        let second = Time(1_000_000_000);
        half_open.segment(key(1), LISTENER, Time(0), &syn(100));
        half_open.segment(key(2), LISTENER, Time(0), &syn(200));
        let mut namespaces = vec![];
        half_open.namespaces(Time(second.0 - 1), &mut namespaces);
        assert!(namespaces.is_empty(), "it may yet become a socket");
        half_open.namespaces(second, &mut namespaces);
        assert_eq!(namespaces, [1]);
        half_open.listed(1, second, &HashSet::from([key(1).endpoints]));
        assert!(half_open.take_over().is_empty(), "what was never listed may be a SYN cookie");
        half_open.listed(1, Time(3 * second.0), &HashSet::new());
        let over = half_open.take_over();
        assert_eq!((over.len(), over[0].four_tuple, over[0].ended), (1, key(1), Some(Time(2 * second.0))));
        assert!(over[0].estimated);
    }

    #[test]
    fn what_never_completes_is_over_at_last() {
        let mut half_open = HalfOpen::default();
        half_open.segment(key(1), LISTENER, Time(0), &syn(100));
        half_open.tick(Time(119_000_000_000));
        half_open.segment(key(2), LISTENER, Time(119_000_000_000), &syn(100));
        half_open.tick(Time(121_000_000_000));
        assert_eq!(half_open.take_over().len(), 1);
        assert!(half_open.take(&key(1)).is_empty());
        assert_eq!(half_open.take(&key(2)).len(), 1);
    }
}
