//! Which lines of a recording are selected: those of a connection are selected together, but for exchanges that are not.

mod held;
mod lookups;
#[cfg(test)]
mod recording_tests;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

use serde::Deserialize;
use tcp_trace_model::{
    event::{Endpoints, Owner},
    filter::{Facts, Translated, owner},
    record::{ConnectionId, Dns, Filter, Http, Network, Process, Record, TlsHandshake, Transition},
};

pub use self::held::Held;
use self::lookups::Lookups;

/// Bytes of lines that are held of connections that cannot be judged yet, when a recording can be read only
/// once. A connection whose line finds no room is left out, and counted.
pub const HELD_BYTES_MAX: usize = 64 << 20;

/// Judges the connections of a recording by what their lines say of them, and their exchanges one by one.
///
/// The first line that settles it counts, as when tracing. A recording that can be read twice is learnt first
/// ([`Self::learn`], [`Self::settle`]); of any other, the lines of a connection are held, as `L`, until it can be judged.
#[derive(Debug)]
pub struct Selection<L = Vec<u8>> {
    filter: Filter,
    connections: HashMap<ConnectionId, Choice<L>>,
    lookups: Lookups<L>,
    is_settled: bool,
    /// Whether connections that have ended are forgotten, because there is no end to new ones.
    is_endless: bool,
    held_bytes: usize,
    held_bytes_max: usize,
    left_out: u64,
}

#[derive(Debug)]
enum Choice<L> {
    Undecided(Box<Undecided<L>>),
    Refused,
    /// There was no room to hold its lines.
    LeftOut,
    /// With its process, when it was chosen by that.
    Chosen(Option<Arc<Process>>),
}

/// What is known so far.
#[derive(Debug)]
struct Undecided<L> {
    endpoints: Option<Endpoints>,
    translated: Option<Endpoints>,
    netns: Option<u32>,
    process: Option<Arc<Process>>,
    cgroup: Option<String>,
    /// Whether one of its exchanges is selected.
    has_exchange: bool,
    held: Vec<L>,
}

impl<L> Default for Undecided<L> {
    fn default() -> Self {
        Self {
            endpoints: None,
            translated: None,
            netns: None,
            process: None,
            cgroup: None,
            has_exchange: false,
            held: Vec::new(),
        }
    }
}

impl Selection<Record> {
    /// Chooses the exchanges that `filter` selects, with their connections, of the records of a session whose connections it
    /// has let through.
    pub fn of_session(filter: &Filter) -> Self {
        Self { is_endless: true, ..Self::new(filter.of_exchanges()) }
    }
}

impl<L: Held> Selection<L> {
    /// Chooses the connections and exchanges that `filter` lets through.
    pub fn new(filter: Filter) -> Self {
        Self {
            filter,
            connections: HashMap::new(),
            lookups: Lookups::default(),
            is_settled: false,
            is_endless: false,
            held_bytes: 0,
            held_bytes_max: HELD_BYTES_MAX,
            left_out: 0,
        }
    }

    /// Whether every line is chosen.
    pub fn is_all(&self) -> bool {
        self.filter.is_empty()
    }

    /// Connections that were left out because there was no room to hold their lines.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Takes note of what a line says of its connection.
    pub fn learn(&mut self, raw: &[u8], record: &Record) {
        if let Record::Dns(_) = record {
            // Judged by itself, or by the connections that follow it.
            return;
        }
        if let Some(id) = connection_of(raw, record) {
            self.judge(id, record);
            self.lookups.learn(id, record);
        }
    }

    /// Everything was learnt: what cannot be judged by now is not chosen.
    pub fn settle(&mut self) {
        self.is_settled = true;
        for (id, choice) in &mut self.connections {
            if let Choice::Undecided(known) = choice
                && self.filter.judge_finally(known.facts(Some(*id), known.owner().as_ref()))
                && (known.has_exchange || !self.filter.selects_exchanges())
            {
                *choice = Choice::Chosen(None);
            }
        }
        let connections = &self.connections;
        self.lookups.settle(|id| matches!(connections.get(&id), Some(Choice::Chosen(_))));
    }

    /// Judges a line. `Some` when it is chosen, with the lines that were held and come before it.
    pub fn pass(&mut self, raw: &[u8], record: &Record) -> Option<Vec<L>> {
        if self.is_all() {
            return Some(Vec::new());
        }
        if let Record::Dns(dns) = record {
            // Who selects exchanges wants no lookup that belongs to none.
            let is_by_itself = || !self.filter.selects_exchanges() && self.is_asked_for(dns);
            let is_chosen = self.lookups.is_wanted(dns.lookup) || is_by_itself();
            if !is_chosen && !self.is_settled {
                self.lookups.hold(dns.lookup, L::held(raw, record));
            }
            return is_chosen.then(Vec::new);
        }
        let Some(id) = connection_of(raw, record) else {
            return Some(Vec::new());
        };
        let is_left = matches!(record, Record::Http(http) if !self.filter.selects(&http.exchange));
        if self.is_settled {
            return (!is_left && matches!(self.connections.get(&id), Some(Choice::Chosen(_)))).then(Vec::new);
        }
        if is_left {
            if let Choice::Undecided(known) = self.connections.entry(id).or_default() {
                known.learn(record);
            }
            return None;
        }
        let passed = self.pass_selected(id, raw, record);
        if self.is_endless && matches!(record, Record::Connection(_)) {
            self.connections.remove(&id);
        }
        passed
    }

    fn pass_selected(&mut self, id: ConnectionId, raw: &[u8], record: &Record) -> Option<Vec<L>> {
        match self.judge(id, record) {
            (Some(true), mut held) => {
                held.extend(self.lookups.take_followed_by(record));
                Some(held)
            }
            (Some(false), _) => None,
            (None, _) => {
                self.hold(id, L::held(raw, record));
                None
            }
        }
    }

    /// Lookups that were left out because there was no room to hold their lines.
    pub fn lookups_left_out(&self) -> u64 {
        self.lookups.left_out()
    }

    /// Whether a lookup passes the filter by itself.
    fn is_asked_for(&self, dns: &Dns) -> bool {
        let owner = dns.process.as_ref().map(|process| owner(process, dns.cgroup.as_deref()));
        let network = &dns.network;
        let facts = Facts {
            connection: dns.connection,
            endpoints: Some(network.endpoints()),
            translated: translated_to(network.translated.map(Endpoints::from)),
            netns: network.netns,
            owner: owner.as_ref(),
        };
        self.filter.judge(facts) == Some(true)
    }

    /// Fills in the process that a connection was chosen by, in records that are older than that knowledge: as
    /// when tracing, where they wait for it.
    pub fn complete(&self, record: &mut Record) {
        let (Record::Transition(Transition { connection, .. })
        | Record::Http(Http { connection, .. })
        | Record::Tls(TlsHandshake { connection, .. })) = record
        else {
            return;
        };
        if let (None, Some(Choice::Chosen(Some(known)))) =
            (&connection.process, self.connections.get(&connection.id))
        {
            Arc::make_mut(connection).process = Some(known.clone());
        }
    }

    /// The verdict on a connection with what a record says of it, and the lines that were held until now.
    fn judge(&mut self, id: ConnectionId, record: &Record) -> (Option<bool>, Vec<L>) {
        let choice = self.connections.entry(id).or_default();
        if matches!(choice, Choice::Refused) && is_translated(record) {
            // Its other addresses became known: they may be selected.
            *choice = Choice::default();
        }
        let known = match choice {
            Choice::Undecided(known) => known,
            Choice::Refused | Choice::LeftOut => return (Some(false), Vec::new()),
            Choice::Chosen(_) => return (Some(true), Vec::new()),
        };
        known.learn(record);
        known.has_exchange |= matches!(record, Record::Http(http) if self.filter.selects(&http.exchange));
        let owner = known.owner();
        let facts = known.facts(Some(id), owner.as_ref());
        // A summary is the last line.
        let is_final = matches!(record, Record::Connection(_));
        let is_let_through =
            if is_final { Some(self.filter.judge_finally(facts)) } else { self.filter.judge(facts) };
        let is_chosen = match is_let_through {
            Some(true) if self.filter.selects_exchanges() && !known.has_exchange => is_final.then_some(false),
            verdict => verdict,
        };
        let Some(is_chosen) = is_chosen else {
            return (None, Vec::new());
        };
        let held = std::mem::take(&mut known.held);
        self.held_bytes -= bytes(&held);
        let process = known.process.take().filter(|_| self.filter.asks_for_processes());
        *choice = if is_chosen { Choice::Chosen(process) } else { Choice::Refused };
        (Some(is_chosen), held)
    }

    /// Keeps a line until its connection can be judged.
    fn hold(&mut self, id: ConnectionId, line: L) {
        let Some(choice) = self.connections.get_mut(&id) else { return };
        let Choice::Undecided(known) = choice else { return };
        if self.held_bytes + line.bytes() <= self.held_bytes_max {
            self.held_bytes += line.bytes();
            known.held.push(line);
        } else {
            self.held_bytes -= bytes(&known.held);
            self.left_out += 1;
            *choice = Choice::LeftOut;
        }
    }
}

impl<L> Default for Choice<L> {
    fn default() -> Self {
        Self::Undecided(Box::default())
    }
}

impl<L> Undecided<L> {
    fn owner(&self) -> Option<Owner> {
        self.process.as_ref().map(|process| owner(process, self.cgroup.as_deref()))
    }

    fn facts<'a>(&self, connection: Option<ConnectionId>, owner: Option<&'a Owner>) -> Facts<'a> {
        Facts {
            connection,
            endpoints: self.endpoints,
            translated: translated_to(self.translated),
            netns: self.netns,
            owner,
        }
    }

    fn learn(&mut self, record: &Record) {
        let info = match record {
            Record::Transition(transition) => &transition.connection,
            Record::Http(http) => &http.connection,
            Record::Tls(tls) => &tls.connection,
            Record::Connection(summary) => {
                self.cgroup.clone_from(&summary.cgroup);
                &summary.connection
            }
            _ => return,
        };
        let network = info.network.as_ref();
        self.endpoints = network.map(Network::endpoints).or(self.endpoints);
        let translated = network.and_then(|network| network.translated).map(Endpoints::from);
        self.translated = translated.or(self.translated);
        self.netns = network.and_then(|network| network.netns).or(self.netns);
        if self.process.is_none() {
            self.process.clone_from(&info.process);
        }
    }
}

fn bytes(lines: &[impl Held]) -> usize {
    lines.iter().map(Held::bytes).sum()
}

/// The connection that a line belongs to; `None` for lines about the session.
fn connection_of(raw: &[u8], record: &Record) -> Option<ConnectionId> {
    #[derive(Deserialize)]
    struct Of {
        connection: ConnectionId,
    }
    match record {
        Record::Transition(transition) => Some(transition.connection.id),
        Record::Segment(segment) => Some(segment.connection.id),
        Record::Http(http) => Some(http.connection.id),
        Record::Tls(tls) => Some(tls.connection.id),
        Record::Connection(summary) => Some(summary.connection.id),
        // Not even those by TCP: a lookup is judged by itself.
        Record::Dns(_) => None,
        Record::Session(_) | Record::Ready(_) | Record::Finding(_) | Record::Loss(_) | Record::End(_) => None,
        Record::Unknown => serde_json::from_slice::<Of>(raw).ok().map(|of| of.connection),
    }
}

/// Whether a line says with which other addresses a connection's segments left the host.
fn is_translated(record: &Record) -> bool {
    let connection = match record {
        Record::Transition(transition) => &transition.connection,
        Record::Connection(summary) => &summary.connection,
        _ => return false,
    };
    connection.ends().translated.is_some()
}

fn translated_to(translated: Option<Endpoints>) -> Translated {
    translated.map_or(Translated::No, Translated::To)
}
