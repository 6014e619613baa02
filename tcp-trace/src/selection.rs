//! Which lines of a recording were asked for: those of a connection are chosen together.

use std::{collections::HashMap, net::SocketAddr};

use serde::Deserialize;

use crate::{
    event::{Endpoints, Owner},
    filter::Facts,
    record::{ConnectionId, Endpoint, Filter, Process, Record},
};

/// Bytes of lines that are held of connections that cannot be judged yet, when a recording can be read only
/// once. A connection whose line finds no room is left out, and counted.
pub const HELD_BYTES_MAX: usize = 64 << 20;

/// Judges the connections of a recording by what their lines say of them.
///
/// The first line that settles it counts, as when tracing. A recording that can be read twice is learnt first
/// ([`Self::learn`], [`Self::settle`]); of any other, the lines of a connection are held until it can be judged.
#[derive(Debug)]
pub struct Selection {
    filter: Filter,
    connections: HashMap<ConnectionId, Choice>,
    is_settled: bool,
    held_bytes: usize,
    held_bytes_max: usize,
    left_out: u64,
}

#[derive(Debug)]
enum Choice {
    Undecided(Box<Undecided>),
    Refused,
    /// With its process, when it was chosen by that.
    Chosen(Option<Box<Process>>),
}

/// What is known so far.
#[derive(Debug, Default)]
struct Undecided {
    endpoints: Option<Endpoints>,
    process: Option<Process>,
    held: Vec<Vec<u8>>,
}

impl Selection {
    /// Chooses the connections that `filter` lets through.
    pub fn new(filter: Filter) -> Self {
        Self {
            filter,
            connections: HashMap::new(),
            is_settled: false,
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
        if let Some(id) = connection_of(raw, record) {
            self.judge(id, record);
        }
    }

    /// Everything was learnt: what cannot be judged by now is not chosen.
    pub fn settle(&mut self) {
        self.is_settled = true;
    }

    /// Judges a line. `Some` when it is chosen, with the lines that were held and come before it.
    pub fn pass(&mut self, raw: &[u8], record: &Record) -> Option<Vec<Vec<u8>>> {
        if self.is_all() {
            return Some(Vec::new());
        }
        let Some(id) = connection_of(raw, record) else {
            return Some(Vec::new());
        };
        if self.is_settled {
            return matches!(self.connections.get(&id), Some(Choice::Chosen(_))).then(Vec::new);
        }
        match self.judge(id, record) {
            (Some(is_chosen), held) => is_chosen.then_some(held),
            (None, _) => {
                self.hold(id, raw);
                None
            }
        }
    }

    /// Fills in the process that a connection was chosen by, in records that are older than that knowledge: as
    /// when tracing, where they wait for it.
    pub fn complete(&self, record: &mut Record) {
        let (id, process) = match record {
            Record::Transition(transition) => (transition.connection, &mut transition.process),
            Record::Http(http) => (http.connection, &mut http.process),
            _ => return,
        };
        if let (None, Some(Choice::Chosen(Some(known)))) = (&process, self.connections.get(&id)) {
            *process = Some(Process::clone(known));
        }
    }

    /// The verdict on a connection with what a record says of it, and the lines that were held until now.
    fn judge(&mut self, id: ConnectionId, record: &Record) -> (Option<bool>, Vec<Vec<u8>>) {
        let choice = self.connections.entry(id).or_insert_with(|| Choice::Undecided(Box::default()));
        let known = match choice {
            Choice::Undecided(known) => known,
            Choice::Refused => return (Some(false), Vec::new()),
            Choice::Chosen(_) => return (Some(true), Vec::new()),
        };
        known.learn(record);
        let owner = known.process.as_ref().map(owner);
        let facts = Facts { endpoints: known.endpoints, owner: owner.as_ref() };
        let Some(is_chosen) = self.filter.judge(facts) else {
            return (None, Vec::new());
        };
        let held = std::mem::take(&mut known.held);
        self.held_bytes -= bytes(&held);
        let is_by_process = !(self.filter.pid.is_empty() && self.filter.comm.is_empty());
        let process = known.process.take().filter(|_| is_by_process).map(Box::new);
        *choice = if is_chosen { Choice::Chosen(process) } else { Choice::Refused };
        (Some(is_chosen), held)
    }

    /// Keeps a line until its connection can be judged.
    fn hold(&mut self, id: ConnectionId, raw: &[u8]) {
        let Some(choice) = self.connections.get_mut(&id) else { return };
        let Choice::Undecided(known) = choice else { return };
        if self.held_bytes + raw.len() <= self.held_bytes_max {
            self.held_bytes += raw.len();
            known.held.push(raw.to_vec());
        } else {
            self.held_bytes -= bytes(&known.held);
            self.left_out += 1;
            *choice = Choice::Refused;
        }
    }
}

impl Undecided {
    fn learn(&mut self, record: &Record) {
        let (ends, process) = match record {
            Record::Transition(transition) => {
                (Some((transition.network.local, transition.network.peer)), &transition.process)
            }
            Record::Http(http) => (Some((http.network.local, http.network.peer)), &http.process),
            Record::Connection(summary) => {
                (summary.network.map(|network| (network.local, network.peer)), &summary.process)
            }
            _ => return,
        };
        self.endpoints = ends.map(endpoints).or(self.endpoints);
        if self.process.is_none() {
            self.process.clone_from(process);
        }
    }
}

fn bytes(lines: &[Vec<u8>]) -> usize {
    lines.iter().map(Vec::len).sum()
}

/// The connection that a line belongs to; `None` for lines about the session.
fn connection_of(raw: &[u8], record: &Record) -> Option<ConnectionId> {
    #[derive(Deserialize)]
    struct Of {
        connection: ConnectionId,
    }
    match record {
        Record::Transition(transition) => Some(transition.connection),
        Record::Segment(segment) => Some(segment.connection),
        Record::Http(http) => Some(http.connection),
        Record::Connection(summary) => Some(summary.connection),
        Record::Session(_) | Record::Ready(_) | Record::Loss(_) | Record::End(_) => None,
        Record::Unknown => serde_json::from_slice::<Of>(raw).ok().map(|of| of.connection),
    }
}

fn endpoints((local, peer): (Endpoint, Endpoint)) -> Endpoints {
    let address = |end: Endpoint| SocketAddr::new(end.address, end.port);
    Endpoints { local: address(local), peer: address(peer) }
}

fn owner(process: &Process) -> Owner {
    Owner { name: process.name.0.clone(), ..Owner::new(process.pid, "") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::reader;

    const ENDS: &str =
        r#""local":{"address":"127.0.0.1","port":8080},"peer":{"address":"127.0.0.1","port":41352}"#;

    fn transition(id: &str, process: &str) -> String {
        format!(
            r#"{{"type":"transition","time":"2026-09-21T14:13:20Z","connection":"{id}","old":"SYN_RECV","new":"ESTABLISHED","estimated":false,"network":{{"type":"ipv4",{ENDS}}}{process}}}"#
        )
    }

    fn nginx() -> &'static str {
        r#","process":{"pid":812,"name":"nginx","uid":33}"#
    }

    fn segment(id: &str) -> String {
        format!(
            r#"{{"type":"segment","time":"2026-09-21T14:13:20Z","connection":"{id}","direction":"in","flags":["SYN"],"seq":1,"length":0,"retransmit":false}}"#
        )
    }

    fn finding(of: &str) -> String {
        format!(r#"{{"type":"finding","time":"2026-09-21T14:13:20Z"{of}}}"#)
    }

    fn comm(name: &str) -> Selection {
        Selection::new(Filter { comm: vec![name.to_owned()], ..Filter::default() })
    }

    /// What comes out of `lines`, in order, when they can be read once.
    fn once(selection: &mut Selection, lines: &[String]) -> Vec<String> {
        let mut out = Vec::new();
        for line in lines {
            if let Some(held) = selection.pass(line.as_bytes(), &reader::parse(line.as_bytes()).unwrap()) {
                out.extend(held.into_iter().map(|line| String::from_utf8(line).unwrap()));
                out.push(line.clone());
            }
        }
        out
    }

    /// The same when they can be read twice.
    fn twice(selection: &mut Selection, lines: &[String]) -> Vec<String> {
        for line in lines {
            selection.learn(line.as_bytes(), &reader::parse(line.as_bytes()).unwrap());
        }
        selection.settle();
        once(selection, lines)
    }

    #[test]
    fn a_process_that_is_known_late_chooses_the_lines_before_it() {
        let lines = [segment("c1"), transition("c1", ""), transition("c1", nginx()), segment("c1")];
        for (name, count) in [("nginx", 4), ("curl", 0), ("ngin", 0)] {
            assert_eq!(once(&mut comm(name), &lines), lines[..count], "{name}");
            assert_eq!(twice(&mut comm(name), &lines), lines[..count], "{name}");
        }
    }

    #[test]
    fn a_record_that_is_older_than_its_process_is_completed() {
        let (before, after) = (transition("c1", ""), transition("c1", nginx()));
        let mut selection = comm("nginx");
        twice(&mut selection, &[before.clone(), after.clone()]);
        let [mut completed, expected] = [before, after].map(|line| reader::parse(line.as_bytes()).unwrap());
        selection.complete(&mut completed);
        assert_eq!(completed, expected);
    }

    #[test]
    fn what_can_be_read_twice_keeps_its_order() {
        let lines = [segment("c1"), transition("c2", nginx()), transition("c1", nginx())];
        assert_eq!(twice(&mut comm("nginx"), &lines), lines);
        let held_back = [&lines[1], &lines[0], &lines[2]].map(Clone::clone);
        assert_eq!(once(&mut comm("nginx"), &lines), held_back);
    }

    #[test]
    fn a_process_that_is_never_known_is_not_chosen() {
        let lines = [segment("c1"), transition("c1", "")];
        assert!(once(&mut comm("nginx"), &lines).is_empty());
        assert!(twice(&mut comm("nginx"), &lines).is_empty());
    }

    #[test]
    fn ports_and_addresses_choose_the_segments_too() {
        let lines = [segment("c1"), transition("c1", ""), segment("c1")];
        let port = |port| Filter { port: vec![port], ..Filter::default() };
        let addr = |net: &str| Filter { addr: vec![net.parse().unwrap()], ..Filter::default() };
        for (filter, count) in
            [(port(8080), 3), (port(41352), 3), (port(80), 0), (addr("127.0.0.0/8"), 3), (addr("::1"), 0)]
        {
            assert_eq!(once(&mut Selection::new(filter.clone()), &lines), lines[..count], "{filter:?}");
            assert_eq!(twice(&mut Selection::new(filter.clone()), &lines), lines[..count], "{filter:?}");
        }
    }

    #[test]
    fn lines_about_the_session_pass_and_later_types_follow_their_connection() {
        let end = r#"{"type":"end","time":"2026-09-21T14:13:20Z","connections":0,"http":0,"events":0,"lost":0,"interrupted":false}"#;
        let lines = [
            transition("c1", nginx()),
            finding(r#","connection":"c1""#),
            finding(r#","connection":"c2""#),
            finding(""),
            finding(r#","connection":7"#),
            end.to_owned(),
        ];
        let chosen = [0, 1, 3, 4, 5].map(|line| lines[line].clone());
        assert_eq!(once(&mut comm("nginx"), &lines), chosen);
        assert_eq!(twice(&mut comm("nginx"), &lines), chosen);
        assert_eq!(once(&mut Selection::new(Filter::default()), &lines), lines);
    }

    #[test]
    fn lives_of_one_socket_are_judged_apart() {
        let curl = r#","process":{"pid":7,"name":"curl","uid":0}"#;
        let lines = [transition("c1", nginx()), transition("c1.1", curl), segment("c1.1")];
        assert_eq!(once(&mut comm("nginx"), &lines), lines[..1]);
    }

    #[test]
    fn lines_that_find_no_room_are_counted_by_connection() {
        let mut selection = comm("nginx");
        selection.held_bytes_max = segment("c1").len() + 10;
        let lines = [
            segment("c1"),
            segment("c2"),
            segment("c2"),
            transition("c1", nginx()),
            transition("c2", nginx()),
            segment("c3"),
            transition("c3", nginx()),
        ];
        let chosen = [0, 3, 5, 6].map(|line| lines[line].clone());
        assert_eq!(once(&mut selection, &lines), chosen, "what was held makes room again");
        assert_eq!((selection.left_out(), selection.held_bytes), (1, 0));
    }
}
