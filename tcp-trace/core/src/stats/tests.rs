//! What is counted, and how often.

use std::sync::Arc;

use super::*;
use crate::diagnosis::testing_http::{exchange, unanswered};
use tcp_trace_model::{
    exchange::{Outcome, SESSION_ENDED},
    record::{Loss, LossPlace, Ready},
};

fn counted(dimension: Dimension, records: &[Record]) -> Stats {
    let mut stats = Stats::new(dimension);
    records.iter().for_each(|record| stats.record(record));
    stats
}

fn with_peer(mut http: Http, peer: Option<ConnectionId>) -> Http {
    Arc::make_mut(&mut http.connection).peer_connection = peer;
    http
}

fn client() -> Http {
    exchange(Role::Client, 0, 0)
}

fn server() -> Http {
    exchange(Role::Server, 0, 0)
}

fn record(http: Http) -> Record {
    Record::Http(http)
}

#[test]
fn an_exchange_counts_once_however_many_of_its_ends_are_recorded() {
    let (c, s) = (client().connection.id, server().connection.id);
    let both = [record(with_peer(server(), Some(c))), record(with_peer(client(), Some(s)))];
    let client_only = [record(client())];
    let server_only = [record(server())];
    for records in [&both[..], &client_only, &server_only] {
        let stats = counted(Dimension::Path, records);
        assert_eq!(stats.total().requests, 1, "{records:?}");
        assert_eq!(stats.statuses(), &BTreeMap::from([(200, 1)]));
    }
    for (records, expected) in
        [(&both[..], "client → api"), (&client_only, "client →"), (&server_only, "→ api")]
    {
        let stats = counted(Dimension::Process, records);
        assert_eq!(stats.groups().iter().map(|(name, _)| *name).collect::<Vec<_>>(), [expected]);
    }
}

#[test]
fn exchanges_are_grouped_by_what_was_chosen() {
    let mut missing = client();
    missing.exchange.response.as_mut().unwrap().status_code = 404;
    let records = [record(client()), record(missing)];
    for (dimension, expected) in [
        (Dimension::Path, &[("POST /pay", 2)][..]),
        (Dimension::Status, &[("200", 1), ("404", 1)]),
        (Dimension::Container, &[("-", 2)]),
        (Dimension::Host, &[("-", 2)]),
    ] {
        let mut records = records.clone();
        for record in &mut records {
            let Record::Http(http) = record else { unreachable!() };
            http.exchange.url = http.exchange.request.as_ref().map(|request| request.url());
        }
        let stats = counted(dimension, &records);
        let groups: Vec<_> = stats.groups().into_iter().map(|(name, group)| (name, group.requests)).collect();
        assert_eq!(groups, expected);
    }
}

#[test]
fn what_failed_and_what_was_not_over_are_counted_apart() {
    let mut open = unanswered(Role::Client, 1, 20, Outcome::NoResponse);
    open.exchange.reason = Some(SESSION_ENDED.into());
    let records = [
        record(client()),
        record(unanswered(Role::Client, 2, 40, Outcome::Reset)),
        record(open),
        Record::Loss(Loss { time: Time(0), place: LossPlace::Ring, events: 3, cpu: None }),
    ];
    let stats = counted(Dimension::Path, &records);
    let total = stats.total();
    assert_eq!((total.requests, total.failed, stats.unfinished(), stats.lost()), (2, 1, 1, 3));
    assert_eq!(total.times.count(), 1, "no response has no time");
    assert_eq!((total.times.quantile(0.5), total.times.longest()), (Some(10_000), Some(10_000)));
}

#[test]
fn beyond_a_number_of_groups_there_is_one_together() {
    let mut stats = Stats::new(Dimension::Path);
    for number in 0..GROUPS_MAX + 5 {
        let mut http = client();
        let request = http.exchange.request.as_mut().unwrap();
        // No number: that would be taken out.
        request.target = format!("/x{number}y").as_str().into();
        http.exchange.url = Some(request.url());
        stats.record(&record(http));
    }
    assert_eq!((stats.groups().len(), stats.others().requests), (GROUPS_MAX, 5));
    assert_eq!(stats.total().requests, GROUPS_MAX as u64 + 5);
}

#[test]
fn times_of_several_recordings_add_up() {
    let ready = |time| Record::Ready(Ready { time: Time(time) });
    let mut stats = Stats::new(Dimension::Path);
    stats.record(&ready(1_000_000));
    stats.until(Time(6_000_000));
    let session = serde_json::json!({
        "type": "session", "time": "2026-09-21T14:13:20Z", "format": "tcp-trace", "version": 1, "tool": "", "host": "",
        "kernel": "", "command": [], "filter": {}, "missing": [],
    });
    stats.record(&serde_json::from_value(session).unwrap());
    stats.record(&ready(9_000_000_000));
    stats.until(Time(9_002_000_000));
    assert_eq!(stats.duration_us(), 5_000 + 2_000);
}

#[test]
fn percentiles_are_within_a_hundredth() {
    let mut times = Times::default();
    (1..=10_000).for_each(|us| times.add(us * 10));
    for (part, exact) in [(0.5, 50_000_u64), (0.9, 90_000), (0.99, 99_000), (1.0, 100_000)] {
        let is = times.quantile(part).unwrap();
        assert!(is.abs_diff(exact) * 100 <= exact, "{part}: {is} for {exact}");
    }
    assert_eq!(Times::default().quantile(0.5), None);
}
