//! Plaintext that a library took to send it, until it is reported on which socket it did.
//!
//! rustls encrypts what it is given, keeps it, and writes it when it is told to, and its connections are moved meanwhile: their addresses say
//! nothing for long.

use std::collections::{HashMap, VecDeque};

use tcp_trace_model::{
    event::{Direction, Plaintext, TlsObject},
    record::Unlinked,
    time::Time,
};

use super::objects::Held;

/// Places in processes where something was taken that was not sent; what is taken at further ones is lost.
pub const PLACES_MAX: usize = 16_384;
/// Calls at one place that wait to be sent; of further ones, only the length is kept.
pub const CALLS_MAX: usize = 1024;
/// Bytes of plaintext that wait for that at all places; of what is taken beyond, only the length is kept.
pub const BYTES_MAX: usize = 16 << 20;
/// How long something waits, in microseconds: the peer may read nothing meanwhile.
const WAITS_US: u64 = 60_000_000;

/// Process, address, and direction: what is received and came from no socket is taken in the other one, and never sent.
type Place = (u32, u64, usize);

#[derive(Debug)]
struct Waiting {
    generation: u32,
    calls: VecDeque<Held>,
    bytes: u64,
    last: Time,
}

/// All that waits.
#[derive(Debug, Default)]
pub(in super::super) struct Taken {
    places: HashMap<Place, Waiting>,
    held: usize,
    never: Unlinked,
}

impl Taken {
    /// Keeps what was taken; false when there is no room for all of it.
    pub(super) fn add(&mut self, time: Time, plaintext: &Plaintext<'_>) -> bool {
        let Plaintext { object, direction, offset, length, payload, .. } = *plaintext;
        let place = (object.pid, object.address, direction.index());
        if self.places.get(&place).is_some_and(|waiting| waiting.generation != object.generation) {
            // Of what was there before, nobody said that it was sent.
            self.give_up(place);
        }
        if self.places.len() >= PLACES_MAX && !self.places.contains_key(&place) {
            return false;
        }
        let room = BYTES_MAX.saturating_sub(self.held);
        let waiting = self.places.entry(place).or_insert_with(|| Waiting {
            generation: object.generation,
            calls: VecDeque::new(),
            bytes: 0,
            last: time,
        });
        waiting.bytes += u64::from(length);
        waiting.last = time;
        if direction == Direction::In {
            // That is only counted.
            return true;
        }
        let has_room = payload.len() <= room;
        let payload = if has_room { payload.to_vec() } else { Vec::new() };
        if waiting.calls.len() >= CALLS_MAX {
            return false;
        }
        self.held += payload.len();
        waiting.calls.push_back(Held { time, direction, offset, length, payload });
        has_room
    }

    /// Gives what was taken at a place, from its first byte on, if that is so many bytes, all of them.
    pub(super) fn send(&mut self, object: TlsObject, address: u64, length: u32) -> Option<VecDeque<Held>> {
        let waiting = self.places.remove(&(object.pid, address, Direction::Out.index()))?;
        self.held -= waiting.calls.iter().map(|call| call.payload.len()).sum::<usize>();
        let whole: u64 = waiting.calls.iter().map(|call| u64::from(call.length)).sum();
        (whole == u64::from(length)).then_some(waiting.calls)
    }

    fn give_up(&mut self, place: Place) {
        if let Some(waiting) = self.places.remove(&place) {
            self.held -= waiting.calls.iter().map(|call| call.payload.len()).sum::<usize>();
            self.never.objects += 1;
            self.never.bytes += waiting.bytes;
        }
    }

    /// Forgets what has waited for long.
    pub(super) fn forget_idle(&mut self, now: Time) {
        let is_idle = |waiting: &Waiting| now.micros_since(waiting.last) >= WAITS_US;
        let idle: Vec<_> =
            self.places.iter().filter(|(_, waiting)| is_idle(waiting)).map(|(place, _)| *place).collect();
        for place in idle {
            self.give_up(place);
        }
    }

    /// What was not sent by now.
    pub(super) fn unsent(&self) -> Unlinked {
        let mut all = self.never;
        for waiting in self.places.values() {
            all.objects += 1;
            all.bytes += waiting.bytes;
        }
        all
    }
}
