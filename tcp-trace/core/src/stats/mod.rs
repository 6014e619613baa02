//! Figures of a session or of recordings: requests, errors, percentiles, connections. Each exchange and each connection counts once,
//! also when both its ends are recorded.

mod dimension;
mod group;
mod template;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use tcp_trace_model::{
    connection_info::ConnectionInfo,
    event::{Role, State},
    lookup::Outcome as LookupOutcome,
    record::{Connection, ConnectionId, How, Http, Record},
    time::Time,
};

pub use self::{
    dimension::Dimension,
    group::{Group, Times},
    template::template,
};

/// Groups that are kept apart; what comes first is. Of further ones there is one group together. Each takes at most 20 KiB.
pub const GROUPS_MAX: usize = 1000;
/// Connections of which it is known who is at their ends.
const ENDS_MAX: usize = 65_536;

/// What is counted of connections.
#[derive(Clone, Debug, Default)]
pub struct Connections {
    /// That began while they were traced.
    pub opened: u64,
    /// That were open at the end.
    pub open: u64,
    /// That could not be established.
    pub failed: u64,
    /// That were reset after they had been established.
    pub reset: u64,
    /// That carried an exchange.
    pub with_exchanges: u64,
    /// Payload of both directions, in bytes.
    pub bytes: u64,
    /// How many there were in each state at the end, by its name.
    pub states: BTreeMap<&'static str, u64>,
    /// From SYN to ESTABLISHED at the client's end.
    pub connects: Times,
    /// TLS handshakes that ended well.
    pub handshakes: Times,
    /// TLS handshakes that failed.
    pub handshakes_failed: u64,
    /// Lookups of names that were answered.
    pub lookups: Times,
    /// Lookups of names that were not, or with an error.
    pub lookups_failed: u64,
}

/// Figures of all records that it was given.
#[derive(Debug)]
pub struct Stats {
    dimension: Dimension,
    total: Group,
    groups: HashMap<String, Group>,
    others: Group,
    statuses: BTreeMap<u16, u64>,
    connections: Connections,
    unfinished: u64,
    lost: u64,
    /// Who is at each end of connections that are not over.
    ends: HashMap<ConnectionId, Arc<ConnectionInfo>>,
    /// From when to when the recording goes on that is being read, and how long those before it took.
    span: Option<(Time, Time)>,
    before_us: u64,
}

impl Stats {
    /// Nothing yet; exchanges are grouped by this.
    pub fn new(dimension: Dimension) -> Self {
        Self {
            dimension,
            total: Group::default(),
            groups: HashMap::new(),
            others: Group::default(),
            statuses: BTreeMap::new(),
            connections: Connections::default(),
            unfinished: 0,
            lost: 0,
            ends: HashMap::new(),
            span: None,
            before_us: 0,
        }
    }

    /// What exchanges are grouped by.
    pub fn dimension(&self) -> Dimension {
        self.dimension
    }

    /// All exchanges.
    pub fn total(&self) -> &Group {
        &self.total
    }

    /// The groups, the largest first.
    pub fn groups(&self) -> Vec<(&str, &Group)> {
        let mut groups: Vec<_> = self.groups.iter().map(|(name, group)| (name.as_str(), group)).collect();
        groups.sort_by(|(one, a), (other, b)| b.requests.cmp(&a.requests).then_with(|| one.cmp(other)));
        groups
    }

    /// Exchanges of all groups beyond [`GROUPS_MAX`].
    pub fn others(&self) -> &Group {
        &self.others
    }

    /// Responses by status code.
    pub fn statuses(&self) -> &BTreeMap<u16, u64> {
        &self.statuses
    }

    /// Connections, handshakes and lookups.
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    /// Exchanges that were not over at the end; they count nowhere else.
    pub fn unfinished(&self) -> u64 {
        self.unfinished
    }

    /// Events that were lost: with these, figures are too small.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// How long was traced, of all recordings together, in microseconds.
    pub fn duration_us(&self) -> u64 {
        let current = self.span.map_or(0, |(first, last)| last.micros_since(first));
        self.before_us.saturating_add(current)
    }

    /// Counts what a record says.
    pub fn record(&mut self, record: &Record) {
        match record {
            Record::Session(_) => {
                // Names of connections are those of their recording.
                self.before_us = self.duration_us();
                self.span = None;
                self.ends.clear();
            }
            Record::Ready(ready) => self.until(ready.time),
            Record::Transition(transition) => {
                self.until(transition.time);
                self.learn(&transition.connection);
                let is_connect = (transition.old, transition.new) == (State::SynSent, State::Established);
                if let Some(us) = transition.in_old_us.filter(|_| is_connect) {
                    self.connections.connects.add(us);
                }
            }
            Record::Http(http) => self.http(http),
            Record::Tls(tls) if !is_other_end(&tls.connection) => match tls.tls.timing.handshake_us {
                Some(us) if !tls.tls.outcome.is_failure() => self.connections.handshakes.add(us),
                _ if tls.tls.outcome.is_failure() => self.connections.handshakes_failed += 1,
                _ => {}
            },
            Record::Dns(dns) => match dns.duration_us {
                Some(us) if dns.outcome == LookupOutcome::Ok => {
                    self.connections.lookups.add(us);
                }
                _ => self.connections.lookups_failed += 1,
            },
            Record::Connection(summary) => self.summary(summary),
            Record::Loss(loss) => self.lost = self.lost.saturating_add(loss.events),
            Record::End(end) => self.until(end.time),
            Record::Tls(_) | Record::Segment(_) | Record::Finding(_) | Record::Unknown => {}
        }
    }

    fn until(&mut self, time: Time) {
        self.span = Some(self.span.map_or((time, time), |(first, last)| (first.min(time), last.max(time))));
    }

    fn learn(&mut self, info: &Arc<ConnectionInfo>) {
        if self.ends.len() < ENDS_MAX || self.ends.contains_key(&info.id) {
            self.ends.insert(info.id, info.clone());
        }
    }

    fn http(&mut self, http: &Http) {
        self.learn(&http.connection);
        if is_other_end(&http.connection) {
            return;
        }
        if http.exchange.is_unfinished() {
            self.unfinished += 1;
            return;
        }
        self.total.add(&http.exchange);
        if let Some(response) = &http.exchange.response {
            *self.statuses.entry(response.status_code).or_default() += 1;
        }
        let other = http.connection.peer_connection.and_then(|peer| self.ends.get(&peer)).map(|info| &**info);
        let name = self.dimension.of(http, other);
        if let Some(group) = self.groups.get_mut(&name) {
            group.add(&http.exchange);
        } else if self.groups.len() < GROUPS_MAX {
            self.groups.entry(name).or_default().add(&http.exchange);
        } else {
            self.others.add(&http.exchange);
        }
    }

    fn summary(&mut self, summary: &Connection) {
        self.ends.remove(&summary.connection.id);
        let is_other = summary.peer_connection.is_some() && summary.connection.role == Some(Role::Server);
        if is_other || summary.connection.role == Some(Role::Listener) {
            return;
        }
        let connections = &mut self.connections;
        connections.opened += u64::from(summary.seen_from_start);
        connections.open += u64::from(summary.open);
        connections.with_exchanges += u64::from(summary.http.is_some());
        connections.bytes =
            connections.bytes.saturating_add(summary.bytes.sent).saturating_add(summary.bytes.received);
        if summary.open
            && let Some(span) = summary.states.last()
        {
            *connections.states.entry(span.state.name()).or_default() += 1;
        }
        let is_established = summary.states.iter().any(|span| span.state == State::Established);
        match summary.close.how {
            How::Rst if is_established => connections.reset += 1,
            How::Rst | How::Timeout | How::Refused | How::Error | How::Abandoned if !is_established => {
                connections.failed += 1;
            }
            _ => {}
        }
    }
}

/// Whether the exchange is also recorded at the client's end, whose times are those that somebody waits for.
fn is_other_end(info: &ConnectionInfo) -> bool {
    info.role == Some(Role::Server) && info.peer_connection.is_some()
}

#[cfg(test)]
mod tests;
