//! Connections that a listener has answered and nobody has accepted yet.
//!
//! Their SYN, SYN+ACK and ACK pass under the listener's cookie. They wait here, by addresses, until the
//! third segment makes a socket of them, or until they are over.

mod entry;

use std::collections::{HashMap, HashSet, VecDeque};

use tcp_trace_model::{
    event::{Cookie, Direction, Endpoints, Flags, Segment},
    refusal::Refusals,
    time::Time,
};

use super::FourTuple;
use entry::{Entry, Held, answer_to};

/// Half-open connections that are remembered; a SYN flood fills it and no more.
pub const HALF_OPEN_MAX: usize = 16_384;
/// After this time without a socket a half-open connection that the kernel does not list is over: longer than
/// the kernel keeps it (5 retransmits of the SYN+ACK, 63 s).
const LIFETIME_US: u64 = 120_000_000;
/// Those that are younger need not be looked for in the kernel's list: most of them become sockets in time.
const LISTED_AFTER_US: u64 = 1_000_000;
/// Answers to SYNs that were not seen that are kept: each is acknowledged within a round trip.
const UNEXPECTED_MAX: usize = 64;

/// A segment with its payload, kept for the socket that will come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldSegment {
    /// When it passed.
    pub time: Time,
    segment: Segment<'static>,
    payload: Vec<u8>,
}

impl HeldSegment {
    pub(super) fn new(time: Time, segment: &Segment<'_>) -> Self {
        Self { time, payload: segment.payload.to_vec(), segment: Segment { payload: &[], ..*segment } }
    }

    /// The same, which acknowledges nothing.
    pub(super) fn without_acknowledgment(mut self) -> Self {
        self.segment.flags.0 &= !Flags::ACK.0;
        self
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
    /// What passed, its SYNs first.
    pub segments: Vec<HeldSegment>,
    /// How many more were refused, by the reason.
    pub refused: Refusals,
    /// When it began: the SYN that was answered.
    pub began: Time,
    /// When it ended; `None` when the session ends first.
    pub ended: Option<Time>,
    /// Whether `ended` was inferred.
    pub estimated: bool,
    /// Whether the kernel made a half-open connection of it: else there were SYNs and nothing more, or SYN cookies, of which the
    /// kernel keeps nothing.
    pub is_known: bool,
    /// Whether it ended because its listener did.
    pub listener_closed: bool,
}

/// What passed of a connection before it became a socket.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// All that passed, its SYNs first.
    pub segments: Vec<HeldSegment>,
    /// When it began: the SYN that was answered. `None` when nothing was seen of it.
    pub began: Option<Time>,
    /// How many more were refused, by the reason.
    pub refused: Refusals,
}

/// All half-open connections of the host. Their keys are the addresses with which their segments arrive, which are those of
/// the socket that will come; where this host translates them, the listener's segments leave with others.
#[derive(Debug, Default)]
pub struct HalfOpen {
    entries: HashMap<FourTuple, Entry>,
    /// Keys by listener and the number that acknowledges the SYN.
    by_answer: HashMap<(Cookie, u32), FourTuple>,
    /// The last answers to SYNs that were not seen, each with its listener: where only translated ports are selected.
    unexpected: VecDeque<(Cookie, HeldSegment)>,
    /// Keys by the time of their first segment.
    order: VecDeque<(Time, FourTuple)>,
    /// Those that ended since they were asked for.
    over: Vec<Over>,
    /// Listeners of those that were given up since they were asked for.
    given_up: Vec<Cookie>,
    /// Listeners of SYNs that were not answered, with how many they were, since they were asked for.
    unanswered: Vec<(Cookie, u32)>,
}

impl HalfOpen {
    /// Takes a segment that passed under a listener's cookie. Returns how many events are given up.
    pub fn segment(&mut self, key: FourTuple, listener: Cookie, time: Time, segment: &Segment<'_>) -> u32 {
        let key = self.own_key(key, listener, segment);
        let is_first = segment.direction == Direction::In
            && segment.flags.has(Flags::SYN)
            && !segment.flags.has(Flags::ACK);
        if is_first && self.is_another_syn(&key, segment.sequence) {
            // The same addresses again with another sequence number. The kernel keeps what it has answered
            // (`tcp_check_req()`); whether there is a new attempt, its next SYN+ACK tells.
            match self.entries.get_mut(&key).filter(|entry| entry.is_known()) {
                Some(entry) => {
                    if let Some(before) = entry.rival.replace(HeldSegment::new(time, segment)) {
                        self.by_answer.remove(&(listener, answer_to(&before.segment)));
                    }
                    self.by_answer.insert((listener, answer_to(segment)), key);
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
            let answer = self.take_unexpected(listener, segment);
            if !is_first && answer.is_none() {
                self.note_unexpected(listener, time, segment);
                return 0;
            }
            self.make_room();
            let first = answer.as_ref().map_or(time, |answer| answer.time);
            self.order.push_back((first, key));
            if let Some(answer) = answer {
                self.entries.insert(key, Entry::new(listener, vec![answer]));
            } else {
                self.by_answer.insert((listener, answer_to(segment)), key);
            }
        }
        let entry = self.entries.entry(key).or_insert_with(|| Entry::new(listener, Vec::new()));
        let Some(Held { unanswered, is_over }) = entry.hold(time, segment) else { return 1 };
        if unanswered > 0 {
            self.unanswered.push((listener, unanswered));
        }
        if is_over {
            self.end(&key, time, false);
        }
        0
    }

    /// What passed of the connection that became a socket.
    pub fn take(&mut self, key: &FourTuple) -> Before {
        let Some(mut entry) = self.remove_entry(key) else { return Before::default() };
        let refused = std::mem::take(&mut entry.refused);
        Before { began: entry.began(), refused, segments: entry.into_segments() }
    }

    /// How many SYNs were not answered since the last call, with their listeners.
    pub fn take_unanswered(&mut self) -> Vec<(Cookie, u32)> {
        std::mem::take(&mut self.unanswered)
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

    /// Compares with what the kernel listed of a namespace from `from` on. One that was listed before and is no more is over, and so is
    /// one that was answered a while ago and is not listed: an ICMP error ended it (`tcp_req_err()`). One whose answer was not seen may
    /// be a SYN cookie, of which the kernel keeps nothing.
    pub fn listed(&mut self, netns: u32, from: Time, listed: &HashSet<Endpoints>) {
        let mut over = Vec::new();
        for (key, entry) in self.entries.iter_mut().filter(|(key, _)| key.netns == netns) {
            if listed.contains(&key.endpoints) {
                entry.listed = Some(from);
            } else if let Some(last) = entry.last_there(from) {
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

    /// The key of the half-open connection that a listener's segment belongs to: what it sends may be translated.
    fn own_key(&self, key: FourTuple, listener: Cookie, segment: &Segment<'_>) -> FourTuple {
        if segment.direction == Direction::In || self.entries.contains_key(&key) {
            return key;
        }
        self.by_answer.get(&(listener, segment.acknowledgment)).copied().unwrap_or(key)
    }

    /// Notes an answer to a SYN that was not seen.
    fn note_unexpected(&mut self, listener: Cookie, time: Time, segment: &Segment<'_>) {
        if segment.direction == Direction::Out && segment.flags.has(Flags::SYN.with(Flags::ACK)) {
            self.unexpected.truncate(UNEXPECTED_MAX - 1);
            self.unexpected.push_front((listener, HeldSegment::new(time, segment)));
        }
    }

    /// The answer to a SYN that was not seen, when this segment acknowledges it.
    fn take_unexpected(&mut self, listener: Cookie, segment: &Segment<'_>) -> Option<HeldSegment> {
        let is_acknowledged = |(of, answer): &(Cookie, HeldSegment)| {
            *of == listener && answer_to(&answer.segment) == segment.acknowledgment
        };
        let is_third = segment.direction == Direction::In && segment.flags.has(Flags::ACK);
        let at = self.unexpected.iter().position(is_acknowledged).filter(|_| is_third)?;
        self.unexpected.remove(at).map(|(_, answer)| answer)
    }

    fn remove_entry(&mut self, key: &FourTuple) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        for syn in entry.segments.first().into_iter().chain(&entry.rival) {
            let answer = (entry.listener, answer_to(&syn.segment));
            if self.by_answer.get(&answer) == Some(key) {
                self.by_answer.remove(&answer);
            }
        }
        Some(entry)
    }

    fn end(&mut self, key: &FourTuple, ended: Time, estimated: bool) {
        self.remove(key, Some(ended), estimated);
    }

    fn remove(&mut self, key: &FourTuple, ended: Option<Time>, estimated: bool) {
        let Some(entry) = self.remove_entry(key) else { return };
        let Some(began) = entry.began() else { return };
        if entry.answered.is_none() && entry.listed.is_none() {
            self.unanswered.push((entry.listener, entry.syns()));
        }
        let is_known = entry.is_known();
        let Entry { listener, segments, refused, .. } = entry;
        self.over.push(Over {
            four_tuple: *key,
            listener,
            segments,
            refused,
            began,
            ended,
            estimated,
            is_known,
            listener_closed: false,
        });
    }

    /// The SYN that a SYN+ACK answers, if that is another than the entry's.
    fn taken_over(&mut self, key: &FourTuple, segment: &Segment<'_>) -> Option<HeldSegment> {
        let answers = |syn: &HeldSegment| answer_to(&syn.segment) == segment.acknowledgment;
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
                && let Some(entry) = self.remove_entry(&key)
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

#[cfg(test)]
#[path = "half_open_tests.rs"]
mod tests;
