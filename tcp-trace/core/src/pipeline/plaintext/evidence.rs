//! Beginnings of TLS records: those that passed on connections, and those that libraries handed out or took.

use std::collections::{HashMap, VecDeque};

use tcp_trace_model::{
    event::{Ciphertext, Direction, TlsObject},
    record::ConnectionId,
    time::Time,
};

use crate::{
    conn::RecordStart,
    tls::{start_behind_header, start_of},
};

/// Beginnings of records that are known at the same time, of those that passed and of those that were handed out or taken; the oldest
/// is forgotten first, and then links nothing.
pub const STARTS_MAX: usize = 16_384;
/// How long they are known, in microseconds: a library takes what has come when its program has read it.
const KNOWN_US: u64 = 10_000_000;

/// Where a beginning was seen, or whose it is; by beginning, oldest first.
#[derive(Debug)]
struct Known<T> {
    of: HashMap<RecordStart, Vec<T>>,
    order: VecDeque<(Time, RecordStart)>,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self { of: HashMap::new(), order: VecDeque::new() }
    }
}

impl<T: Copy + PartialEq> Known<T> {
    fn add(&mut self, time: Time, start: RecordStart, whose: T) {
        while let Some((oldest, start)) = self.order.front()
            && (self.order.len() >= STARTS_MAX || time.micros_since(*oldest) >= KNOWN_US)
        {
            if let Some(those) = self.of.get_mut(start) {
                those.remove(0);
                if those.is_empty() {
                    self.of.remove(start);
                }
            }
            self.order.pop_front();
        }
        let those = self.of.entry(start).or_default();
        if !those.contains(&whose) {
            those.push(whose);
            self.order.push_back((time, start));
        }
    }

    fn get(&self, start: &RecordStart) -> &[T] {
        self.of.get(start).map_or(&[], Vec::as_slice)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(in super::super) struct Evidence {
    passed: Known<ConnectionId>,
    handed: Known<TlsObject>,
}

impl Evidence {
    /// Notes that a record passed that begins so. Gives the objects that handed it out or took it, and the connections on which it
    /// has passed by now.
    pub(super) fn pass(
        &mut self,
        time: Time,
        start: RecordStart,
        id: ConnectionId,
    ) -> (&[TlsObject], &[ConnectionId]) {
        self.passed.add(time, start, id);
        (self.handed.get(&start), self.passed.get(&start))
    }

    /// Notes what an object handed out or took. Gives the connections on which that passed.
    pub(super) fn hand(&mut self, time: Time, ciphertext: &Ciphertext<'_>) -> Vec<ConnectionId> {
        let Ciphertext { object, direction, bytes } = *ciphertext;
        let headless = start_behind_header(bytes).filter(|_| direction == Direction::In);
        let mut passed = Vec::new();
        for bytes in start_of(bytes).into_iter().chain(headless) {
            let start = RecordStart { direction, bytes };
            self.handed.add(time, start, object);
            passed.extend_from_slice(self.passed.get(&start));
        }
        passed
    }
}
