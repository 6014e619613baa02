//! A recording, read line by line, and what has to hold of every one.

use std::collections::HashMap;

use tcp_trace_model::{
    event::{Direction, Role, State},
    record::{
        Connection, ConnectionId, Dns, End, FlagNames, Http, Loss, Record, Segment, Session, Transition,
    },
};

use crate::schema;

/// A complete recording.
#[derive(Debug)]
pub struct Recording {
    /// Its first line.
    pub session: Session,
    /// Its last line.
    pub end: End,
    /// All lines.
    pub records: Vec<Record>,
}

impl Recording {
    /// Reads a recording and checks what has to hold of every one.
    pub fn parse(text: &str) -> Self {
        let records: Vec<Record> = text.lines().map(parse_line).collect();
        let Some(Record::Session(session)) = records.first() else { panic!("no session in the first line") };
        assert!(matches!(records.get(1), Some(Record::Ready(_))), "no ready in the second line");
        let Some(Record::End(end)) = records.last() else {
            panic!("no end in the last line: {:?}", records.last())
        };
        let recording = Self { session: (**session).clone(), end: end.clone(), records: records.clone() };
        recording.check();
        schema::validate(text);
        recording
    }

    fn check(&self) {
        let end = &self.end;
        assert_eq!(end.connections, self.connections().count() as u64, "end.connections");
        assert_eq!(end.http, self.http().count() as u64, "end.http");
        assert_eq!(
            end.tls,
            self.records.iter().filter(|record| matches!(record, Record::Tls(_))).count() as u64,
            "end.tls"
        );
        assert_eq!(end.dns, self.lookups().count() as u64, "end.dns");
        assert_eq!(end.lost, self.losses().map(|loss| loss.events).sum::<u64>(), "end.lost");
        let mut summaries = HashMap::new();
        for connection in self.connections() {
            let before = summaries.insert(connection.connection.id, connection);
            assert!(before.is_none(), "{} has two summaries", connection.connection.id);
            check_states(connection);
        }
        let mut indexes: HashMap<ConnectionId, Vec<u64>> = HashMap::new();
        for http in self.http() {
            let before = indexes.entry(http.connection.id).or_default();
            before.push(http.exchange.index);
            if http.exchange.stream.is_some() {
                // Streams end in any order.
                before.sort_unstable();
            }
            let of = summaries.get(&http.connection.id).and_then(|summary| summary.peer_connection);
            if let (Some(summarised), Some(peer)) = (of, http.connection.peer_connection) {
                assert_eq!(peer, summarised, "the other end of {}", http.connection.id);
            }
        }
        for (id, indexes) in indexes {
            // Each one is recorded, or what the filter selects of them.
            let is_whole = match self.session.filter.selects_exchanges() {
                true => indexes.is_sorted(),
                false => indexes.iter().copied().eq(0..indexes.len() as u64),
            };
            assert!(is_whole, "indexes on {id}: {indexes:?}");
        }
        let mut states = HashMap::new();
        for transition in self.transitions() {
            let summary = summaries.get(&transition.connection.id);
            let summary = summary.unwrap_or_else(|| panic!("{} has no summary", transition.connection.id));
            let before = states.insert(transition.connection.id, transition.new);
            let before = before.or_else(|| state_before(transition, summary));
            let is_next = before.is_none_or(|state| state == transition.old);
            // What the kernel's program did not report follows from its segments: nothing before it is missing.
            let is_inferred = transition.gap
                && transition.estimated
                && (transition.old, transition.new) == (State::FinWait1, State::FinWait2);
            assert!(is_next != transition.gap || is_inferred, "after {before:?}: {transition:?}");
        }
    }

    /// HTTP exchanges.
    pub fn http(&self) -> impl Iterator<Item = &Http> {
        self.records.iter().filter_map(|record| match record {
            Record::Http(http) => Some(http),
            _ => None,
        })
    }

    /// HTTP exchanges as one end saw them.
    pub fn http_of(&self, role: Role) -> Vec<&Http> {
        self.http().filter(|http| http.connection.role == Some(role)).collect()
    }

    /// HTTP exchanges of one connection.
    pub fn http_on(&self, id: ConnectionId) -> impl Iterator<Item = &Http> {
        self.http().filter(move |http| http.connection.id == id)
    }

    /// Summaries.
    pub fn connections(&self) -> impl Iterator<Item = &Connection> {
        self.records.iter().filter_map(|record| match record {
            Record::Connection(connection) => Some(&**connection),
            _ => None,
        })
    }

    /// Summaries of one kind of end.
    pub fn connections_of(&self, role: Role) -> Vec<&Connection> {
        self.connections().filter(|connection| connection.connection.role == Some(role)).collect()
    }

    /// State transitions.
    pub fn transitions(&self) -> impl Iterator<Item = &Transition> {
        self.records.iter().filter_map(|record| match record {
            Record::Transition(transition) => Some(transition),
            _ => None,
        })
    }

    /// State transitions of one connection, `OLD>NEW`.
    pub fn life(&self, id: ConnectionId) -> Vec<String> {
        let of = self.transitions().filter(|transition| transition.connection.id == id);
        of.map(|transition| format!("{}>{}", transition.old.name(), transition.new.name())).collect()
    }

    /// Segments.
    pub fn all_segments(&self) -> impl Iterator<Item = &Segment> {
        self.records.iter().filter_map(|record| match record {
            Record::Segment(segment) => Some(segment),
            _ => None,
        })
    }

    /// Segments of one connection.
    pub fn segments(&self, id: ConnectionId) -> Vec<&Segment> {
        self.all_segments().filter(|segment| segment.connection.id == id).collect()
    }

    /// Segments of one connection without what depends on the moment: direction, control bits, sequence number, bytes.
    pub fn untimed_segments(&self, id: ConnectionId) -> Vec<(Direction, FlagNames, u32, u32)> {
        let untimed = |of: &Segment| (of.direction, of.flags, of.seq, of.length);
        self.segments(id).into_iter().map(untimed).collect()
    }

    /// Lookups of names.
    pub fn lookups(&self) -> impl Iterator<Item = &Dns> {
        self.records.iter().filter_map(|record| match record {
            Record::Dns(dns) => Some(&**dns),
            _ => None,
        })
    }

    /// Losses.
    pub fn losses(&self) -> impl Iterator<Item = &Loss> {
        self.records.iter().filter_map(|record| match record {
            Record::Loss(loss) => Some(loss),
            _ => None,
        })
    }
}

/// Reads one line.
pub(crate) fn parse_line(line: &str) -> Record {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// The state that a connection was known to be in before its first transition: from a segment, or the list of older
/// sockets, or before a selected process took it over. `None` when it began with that.
fn state_before(first: &Transition, summary: &Connection) -> Option<State> {
    let is_birth = matches!(first.old, State::Close | State::Listen);
    let is_taken_over = !summary.users.is_empty() && !summary.seen_from_start;
    let mut states = summary.states.iter().map(|span| span.state);
    let before = if is_taken_over { states.find(|state| *state == first.old) } else { states.next() };
    before.filter(|_| !is_birth)
}

/// Each state begins when the one before it ends.
fn check_states(connection: &Connection) {
    for pair in connection.states.windows(2) {
        let Some(duration_us) = pair[0].duration_us else { continue };
        let until_next = pair[1].entered.micros_since(pair[0].entered);
        assert!(until_next.abs_diff(duration_us) <= 1, "{}: {pair:?}", connection.connection.id);
    }
}
