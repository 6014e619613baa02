//! Lives by connection, bounded in bytes: whole lives are evicted, and counted.

use std::collections::{BTreeMap, HashSet};

use tcp_trace_model::{
    record::{Connection, ConnectionId, Dns, Http, Record},
    time::Time,
};

use super::{Life, size};

/// The part of its bytes, one of so many, that a store uses for lookups before it evicts the oldest of them.
const LOOKUPS_SHARE: usize = 4;

/// How much a store keeps.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Bytes of memory, at most.
    pub bytes_max: usize,
    /// Transitions of each connection: the first ones.
    pub transitions_max: usize,
    /// Segments of each connection: the first ones.
    pub segments_max: usize,
    /// Exchanges of each connection: the last ones.
    pub exchanges_max: usize,
    /// Removes of an exchange what is not needed.
    pub trim: fn(&mut Http),
    /// Whether a life that has ended is worth more than those that have ended too.
    pub is_precious: fn(&Life) -> bool,
}

impl Keep {
    /// Everything, in this many bytes.
    pub const fn all(bytes_max: usize) -> Self {
        let (transitions_max, segments_max, exchanges_max) = (usize::MAX, usize::MAX, usize::MAX);
        Self { bytes_max, transitions_max, segments_max, exchanges_max, trim: |_| {}, is_precious: |_| false }
    }
}

/// What is evicted later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    Ended,
    Precious,
    Open,
}

/// Every one of them.
const WORTHS: [Worth; 3] = [Worth::Ended, Worth::Precious, Worth::Open];

/// Lives by connection, and the lookups of names.
///
/// When there is no room the oldest lives go: of connections that have ended, in the order of their ends, precious ones last;
/// then of open ones, in the order of their beginnings. What comes later of a connection whose life was evicted while it was open is dropped.
#[derive(Debug)]
pub struct Store {
    keep: Keep,
    lives: BTreeMap<ConnectionId, Life>,
    /// In the order in which they are evicted: what it is worth, and when it ended or began.
    by_age: BTreeMap<(Worth, u64), ConnectionId>,
    evicted_open: HashSet<ConnectionId>,
    lookups: BTreeMap<u64, Dns>,
    order: u64,
    bytes: usize,
    lookup_bytes: usize,
    evicted: u64,
    evicted_until: Option<Time>,
    evicted_lookups: u64,
}

impl Store {
    /// Keeps so much.
    pub fn new(keep: Keep) -> Self {
        Self {
            keep,
            lives: BTreeMap::new(),
            by_age: BTreeMap::new(),
            evicted_open: HashSet::new(),
            lookups: BTreeMap::new(),
            order: 0,
            bytes: 0,
            lookup_bytes: 0,
            evicted: 0,
            evicted_until: None,
            evicted_lookups: 0,
        }
    }

    /// Takes one record; those about the session are none of its business.
    pub fn record(&mut self, record: &Record) {
        match record {
            Record::Transition(transition) => {
                let max = self.keep.transitions_max;
                self.with(transition.connection.id, |life| {
                    if life.transitions.len() < max {
                        life.transitions.push(transition.clone());
                        life.bytes += size::transition(transition);
                    }
                });
            }
            Record::Segment(segment) => {
                let max = self.keep.segments_max;
                self.with(segment.connection.id, |life| {
                    if life.segments.len() < max {
                        life.segments.push(segment.clone());
                        life.bytes += size::segment(segment);
                    }
                });
            }
            Record::Http(http) => self.http(http),
            Record::Tls(tls) => self.with(tls.connection.id, |life| {
                life.bytes += size::tls_handshake(tls);
                let before = life.tls.replace(tls.clone());
                life.bytes -= before.map_or(0, |before| size::tls_handshake(&before));
            }),
            Record::Connection(summary) => self.summary(summary),
            Record::Dns(dns) => self.lookup(dns),
            Record::Session(_)
            | Record::Ready(_)
            | Record::Finding(_)
            | Record::Loss(_)
            | Record::End(_)
            | Record::Unknown => return,
        }
        self.evict();
    }

    /// The life of a connection.
    pub fn life(&self, connection: ConnectionId) -> Option<&Life> {
        self.lives.get(&connection)
    }

    /// All lives, by connection.
    pub fn lives(&self) -> impl Iterator<Item = &Life> {
        self.lives.values()
    }

    /// The last moment of any life that was evicted.
    pub fn evicted_until(&self) -> Option<Time> {
        self.evicted_until
    }

    /// Takes a life out: what would come later of its connection would begin another one.
    pub fn remove(&mut self, connection: ConnectionId) -> Option<Life> {
        let life = self.lives.remove(&connection)?;
        for worth in WORTHS {
            self.by_age.remove(&(worth, life.order));
        }
        self.bytes -= life.bytes;
        Some(life)
    }

    /// The lookups of names, by number.
    pub fn lookups(&self) -> &BTreeMap<u64, Dns> {
        &self.lookups
    }

    /// How many lives were evicted.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// How many lookups were evicted.
    pub fn evicted_lookups(&self) -> u64 {
        self.evicted_lookups
    }

    /// Bytes of memory that are used.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn http(&mut self, http: &Http) {
        let Keep { exchanges_max, trim, .. } = self.keep;
        self.with(http.connection.id, |life| {
            life.exchange_count += 1;
            let mut http = http.clone();
            trim(&mut http);
            life.bytes += size::http(&http);
            life.exchanges.push_back(http);
            if life.exchanges.len() > exchanges_max {
                life.bytes -= life.exchanges.pop_front().as_ref().map_or(0, size::http);
            }
        });
    }

    fn summary(&mut self, summary: &Connection) {
        let connection = summary.connection.id;
        if !summary.open && self.evicted_open.remove(&connection) {
            self.bytes -= size_of::<ConnectionId>();
            return;
        }
        self.with(connection, |life| {
            life.bytes += size::connection(summary);
            let before = life.summary.replace(Box::new(summary.clone()));
            life.bytes -= before.map_or(0, |before| size::connection(&before));
        });
        if !summary.open {
            self.order += 1;
            if let Some(life) = self.lives.get_mut(&connection) {
                // Whether it was open until now is not known: a second summary is nothing that is written.
                for worth in WORTHS {
                    self.by_age.remove(&(worth, life.order));
                }
                life.order = self.order;
                let worth = if (self.keep.is_precious)(life) { Worth::Precious } else { Worth::Ended };
                self.by_age.insert((worth, life.order), connection);
            }
        }
    }

    fn lookup(&mut self, dns: &Dns) {
        let bytes = size::dns(dns);
        let before = self.lookups.insert(dns.lookup, dns.clone()).as_ref().map_or(0, size::dns);
        self.lookup_bytes = self.lookup_bytes + bytes - before;
        self.bytes = self.bytes + bytes - before;
    }

    /// Changes the life of a connection, which begins with this if it is new.
    fn with(&mut self, connection: ConnectionId, change: impl FnOnce(&mut Life)) {
        if self.evicted_open.contains(&connection) {
            return;
        }
        let life = self.lives.entry(connection).or_insert_with(|| {
            self.order += 1;
            self.by_age.insert((Worth::Open, self.order), connection);
            self.bytes += size::LIFE;
            Life { connection, bytes: size::LIFE, order: self.order, ..Life::default() }
        });
        let before = life.bytes;
        change(life);
        self.bytes = self.bytes + life.bytes - before;
    }

    fn evict(&mut self) {
        while self.bytes > self.keep.bytes_max {
            if self.lookup_bytes > self.keep.bytes_max / LOOKUPS_SHARE
                && let Some((_, dns)) = self.lookups.pop_first()
            {
                self.lookup_bytes -= size::dns(&dns);
                self.bytes -= size::dns(&dns);
                self.evicted_lookups += 1;
                continue;
            }
            let Some((_, connection)) = self.by_age.pop_first() else { return };
            let Some(life) = self.lives.remove(&connection) else { continue };
            self.bytes -= life.bytes;
            self.evicted += 1;
            self.evicted_until = self.evicted_until.max(Some(life.span().1));
            if !life.has_ended() && self.evicted_open.insert(connection) {
                self.bytes += size_of::<ConnectionId>();
            }
        }
    }
}
