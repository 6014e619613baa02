//! A recording made with a filter has what `show` with that filter selects of one that was made without.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;
use tcp_trace_model::{
    filter::ExchangeFilter,
    json,
    record::{ConnectionId, Filter, Record, reader},
};

use super::*;
use crate::pipeline::testing::{LIVES, Life, play};

fn lives() -> impl Strategy<Value = Vec<Life>> {
    prop::collection::vec((0..LIVES).prop_map(Life::of), 1..5)
}

fn filters() -> impl Strategy<Value = Filter> {
    let comm = prop::sample::select(vec!["", "curl", "wget", "nginx"]);
    let pid = prop::sample::select(vec![0, 5, 7, 11]);
    let port = || prop::sample::select(vec![0, 80, 40_001]);
    let addr = prop::sample::select(vec!["", "127.0.0.0/8", "10.0.0.0/8"]);
    let kinds = (comm, pid, port(), port(), port(), addr, exchanges(), exclusions());
    kinds.prop_map(|(comm, pid, port, local_port, peer_port, addr, exchanges, not)| {
        let port_of = |port: u16| if port == 0 { Vec::new() } else { vec![port] };
        Filter {
            comm: if comm.is_empty() { Vec::new() } else { vec![comm.to_owned()] },
            pid: if pid == 0 { Vec::new() } else { vec![pid] },
            port: port_of(port),
            local_port: port_of(local_port),
            peer_port: port_of(peer_port),
            addr: if addr.is_empty() { Vec::new() } else { vec![addr.parse().unwrap()] },
            exchanges,
            not,
            ..Filter::default()
        }
    })
}

fn exchanges() -> impl Strategy<Value = ExchangeFilter> {
    let path = prop::sample::select(vec!["", "", "*", "/", "/none"]);
    path.prop_map(|path| ExchangeFilter {
        path: path.parse().into_iter().collect(),
        ..ExchangeFilter::default()
    })
}

fn exclusions() -> impl Strategy<Value = Vec<Filter>> {
    let comm = prop::sample::select(vec!["curl", "nginx"]);
    let not = (comm, exchanges()).prop_map(|(comm, exchanges)| {
        let by_comm = Filter { comm: vec![comm.to_owned()], ..Filter::default() };
        let is_any = exchanges.is_empty();
        if is_any { by_comm } else { Filter { exchanges, ..Filter::default() } }
    });
    prop::collection::vec(not, 0..2)
}

/// What comes of a session with a filter.
fn traced(records: Vec<Record>, filter: &Filter) -> Vec<Record> {
    if !filter.selects_exchanges() {
        return records;
    }
    let mut selection = Selection::of_session(filter);
    let mut out = Vec::new();
    for record in records {
        if let Some(held) = selection.pass(&[], &record) {
            out.extend(held);
            out.push(record);
        }
    }
    out
}

/// The records of each connection, in their order, but for what only the other end knows.
fn by_connection(records: impl IntoIterator<Item = Record>) -> BTreeMap<ConnectionId, Vec<Record>> {
    let mut all = BTreeMap::<_, Vec<_>>::new();
    for mut record in records {
        let connection = match &mut record {
            Record::Transition(transition) => transition.connection.id,
            Record::Segment(segment) => segment.connection.id,
            Record::Http(http) => {
                Arc::make_mut(&mut http.connection).peer_connection = None;
                http.connection.id
            }
            Record::Connection(summary) => {
                summary.peer_connection = None;
                summary.connection.id
            }
            _ => continue,
        };
        all.entry(connection).or_default().push(record);
    }
    all
}

fn line(record: &Record) -> Vec<u8> {
    let mut line = Vec::new();
    json::write(&mut line, record).unwrap();
    line
}

fn parsed(line: &[u8]) -> Record {
    reader::parse(line).unwrap()
}

/// What `show` prints of these records with a filter.
fn shown(records: &[Record], filter: Filter, is_read_twice: bool) -> Vec<Record> {
    let lines: Vec<Vec<u8>> = records.iter().map(line).collect();
    let mut selection: Selection = Selection::new(filter);
    if is_read_twice && !selection.is_all() {
        lines.iter().for_each(|line| selection.learn(line, &parsed(line)));
        selection.settle();
    }
    let mut out = Vec::new();
    for line in &lines {
        let Some(held) = selection.pass(line, &parsed(line)) else { continue };
        out.extend(held.iter().map(|line| parsed(line)).chain([parsed(line)]));
    }
    out.iter_mut().for_each(|record| selection.complete(record));
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_filter_selects_the_same_when_tracing_and_in_a_recording(
        lives in lives(),
        filter in filters(),
        picks in prop::collection::vec(0..4_usize, 1..40),
    ) {
        let traced = traced(play(filter.clone(), &lives, &picks, |_| false), &filter);
        let traced = by_connection(traced.iter().map(|record| parsed(&line(record))));
        let all = play(Filter::default(), &lives, &picks, |_| false);
        for is_read_twice in [false, true] {
            let selected = by_connection(shown(&all, filter.clone(), is_read_twice));
            prop_assert_eq!(&traced, &selected, "read twice: {}", is_read_twice);
        }
    }
}
